package load

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// packetHead is the part of a datagram that says whose it is: client, slot and sequence number.
const packetHead = 16

// maxPacket bounds a datagram, so that it fits into one frame of most networks.
const maxPacket = 1400

// packetFiller is what follows the head of a datagram: from the place on that its sequence number gives. Read-only.
var packetFiller = func() []byte {
	b := make([]byte, 2*2048)
	random := rand.NewChaCha8([32]byte{'p', 'a', 'c', 'k', 'e', 't'})
	_, _ = random.Read(b)
	return b
}()

// fillPacket writes a whole datagram into b, whose length is the datagram's.
func fillPacket(b []byte, client, slot uint32, sequence uint64) {
	binary.BigEndian.PutUint32(b, client)
	binary.BigEndian.PutUint32(b[4:], slot)
	binary.BigEndian.PutUint64(b[8:], sequence)
	copy(b[packetHead:], packetFiller[sequence%2048:])
}

// readPacket checks that b is a datagram of size bytes that fillPacket has written for client, and returns its slot and sequence number.
func readPacket(b []byte, size int, client uint32) (slot uint32, sequence uint64, ok bool) {
	if len(b) != size || binary.BigEndian.Uint32(b) != client {
		return 0, 0, false
	}
	slot, sequence = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:])
	filler := packetFiller[sequence%2048:]
	return slot, sequence, bytes.Equal(b[packetHead:], filler[:size-packetHead])
}
