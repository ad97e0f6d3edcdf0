// Package rig is the bench on which the tests of this folder put a whole gateway: a configuration text becomes a running gateway, endpoints record every
// byte that reaches them and can be restarted, clients speak in raw bytes. What travels is read by the strict parser of internal/testnet, which shares
// no line with the product, so that a mistake of the codec cannot hide behind the same mistake of its test.
package rig
