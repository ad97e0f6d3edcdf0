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
	name := filepath.Join(dir, secretFile)
	secret, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSecret(dir, name); err == nil {
			secret, err = os.ReadFile(name) // whose it may be
		}
	}
	if err == nil && len(secret) < secretBytes {
		err = fmt.Errorf("%s: it has %d bytes, and needs %d; remove it to have a new one made, which ends all sessions", name, len(secret), secretBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return secret, nil
}

// makeSecret writes a secret under a name that may have come to exist meanwhile: then it stays as it is. It is whole or not there at all.
func makeSecret(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	made := make([]byte, secretBytes)
	_, _ = rand.Read(made)                                // never fails
	temporary, err := os.CreateTemp(dir, secretFile+".*") // with mode 0600
	if err != nil {
		return err
	}
	if _, err = temporary.Write(made); err == nil {
		err = temporary.Sync()
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Link(temporary.Name(), name) // fails if there is one
	}
	_ = os.Remove(temporary.Name()) // a file that is left over does no harm
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
