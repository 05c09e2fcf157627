// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
