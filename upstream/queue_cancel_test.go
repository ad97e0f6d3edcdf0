package upstream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
)

// TestQueueCancel: a request that is cancelled while it waits ends at once, wherever in the list it stands, and takes no place; one that was cancelled before
// does not even begin to wait.
func TestQueueCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, newGroup(t, bounded(1, 10, time.Minute), answers(200)).Backend)
		first := h.come("first", nil)
		var cancel [3]http1.Cancel
		var waiting [3]*guest
		for i := range waiting {
			waiting[i] = h.comeWith(fmt.Sprint(i), &cancel[i], nil)
		}
		cancel[1].Fire()
		synctest.Wait()
		if g := waiting[1]; !g.done.Load() || g.failure == nil || g.failure.Reason != message.ClientClosed || g.at != 0 {
			t.Errorf("cancelled: done %v, %v after %v", g.done.Load(), g.failure, g.at)
		}
		var before http1.Cancel
		before.Fire()
		if g := h.comeWith("late", &before, nil); !g.done.Load() || g.failure == nil {
			t.Error("one that was cancelled before it came waits")
		}
		h.leave(first)
		h.leave(waiting[0])
		h.leave(waiting[2])
		h.wg.Wait()
		if h.sequence() != "first 0 2" {
			t.Errorf("served: %s", h.sequence())
		}
	})
}
