// SPDX-License-Identifier: Apache-2.0

// Package account names the users of the host by /etc/passwd. Nothing else is
// asked: services that a C library would ask can keep it waiting, and users of
// containers are not the host's.
package account
