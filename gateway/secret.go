package gateway

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	secretBytes = 32
	secretFile  = "session.key"
)

// sessionSecret returns the secret that session cookies are made from where the configuration names none: the one in the directory for state, or one
// that lasts as long as the program.
func (g *Gateway) sessionSecret(gen *generation) ([]byte, error) {
	if dir := string(gen.config.State); dir != "" {
		return stateSecret(dir)
	}
	if g.secret == nil {
		made := make([]byte, secretBytes)
		_, _ = rand.Read(made) // never fails
		g.secret = made
		g.o.Report("session cookies are signed with a secret that was made at this start: they end with the program, and other instances do not know them; set state or session.secret")
	}
	return g.secret, nil
}

// stateSecret reads the secret in a directory, or makes it there. Of several programs that make it at once, all go on with the same.
func stateSecret(dir string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	name := filepath.Join(dir, secretFile)
	made := make([]byte, secretBytes)
	_, _ = rand.Read(made)                                // never fails
	temporary, err := os.CreateTemp(dir, secretFile+".*") // with mode 0600
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	_, err = temporary.Write(made)
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		// A link fails if there is a secret already, and is whole or not there at all.
		if err = os.Link(temporary.Name(), name); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	_ = os.Remove(temporary.Name()) // a file that is left over does no harm
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	secret, err := os.ReadFile(name)
	if err == nil && len(secret) < secretBytes {
		err = fmt.Errorf("%s: it has %d bytes and not %d; remove it to have a new one made, which ends all sessions", name, len(secret), secretBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return secret, nil
}
