// PKCE (RFC 7636) and the state of an authorization request: random texts, and the challenge made of one.
#ifndef OUTTRAY_AGENT_AUTH_PKCE_H
#define OUTTRAY_AGENT_AUTH_PKCE_H

#define PKCE_SIZE 44 // base64url of 32 octets, with the NUL

// 256 random bits. 0 or -EIO where the system has no randomness.
int pkce_random(char text[static PKCE_SIZE]);
// code_challenge of a code_verifier by S256. 0 or -EIO.
int pkce_challenge(const char *verifier, char challenge[static PKCE_SIZE]);

#endif
