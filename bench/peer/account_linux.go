package peer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is the ids of the process and of all its descendants.
func (p *Process) Tree() ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended in the meantime
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields, ok := statFields(text)
		if err != nil || !ok {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	tree := []int{p.PID()}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// statFields are the fields of /proc/PID/stat from the third (state) on; the second may hold blanks and parentheses.
func statFields(text []byte) ([]string, bool) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return nil, false
	}
	fields := strings.Fields(string(text[i+1:]))
	return fields, len(fields) >= 13
}

// Usage is processor time that a set of processes has used since their start.
type Usage struct {
	Total        time.Duration // nanoseconds as the scheduler counts them
	User, System time.Duration // in ticks of 10 ms; only their proportion is worth reading
}

// Sub is the time used between an earlier reading and u.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{u.Total - earlier.Total, u.User - earlier.User, u.System - earlier.System}
}

// clockTick is the unit of utime and stime, which is 100 a second for every program on Linux (USER_HZ).
const clockTick = time.Second / 100

// ReadUsage sums up the processes pids, all their threads included, ended threads too.
func ReadUsage(pids []int) (Usage, error) {
	var u Usage
	for _, pid := range pids {
		// A process's CPU clock, as clock_getcpuclockid(3) makes its id: the scheduler's own nanoseconds.
		var span unix.Timespec
		const sched = 2
		if err := unix.ClockGettime(int32(^pid<<3|sched), &span); err != nil {
			return u, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		u.Total += time.Duration(span.Nano())
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return u, err
		}
		fields, ok := statFields(text)
		if !ok {
			return u, fmt.Errorf("/proc/%d/stat has an unknown form", pid)
		}
		user, err1 := strconv.ParseInt(fields[11], 10, 64)
		system, err2 := strconv.ParseInt(fields[12], 10, 64)
		if err1 != nil || err2 != nil {
			return u, fmt.Errorf("/proc/%d/stat has an unknown form", pid)
		}
		u.User += time.Duration(user) * clockTick
		u.System += time.Duration(system) * clockTick
	}
	return u, nil
}

// ResidentBytes sums up the resident memory of the processes. It reads smaps_rollup, which is exact; the counters behind
// statm are kept per processor and may lag by megabytes.
func ResidentBytes(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		_, after, ok := strings.Cut(string(text), "\nRss:")
		fields := strings.Fields(after)
		if !ok || len(fields) == 0 {
			return 0, fmt.Errorf("/proc/%d/smaps_rollup has an unknown form", pid)
		}
		kib, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/smaps_rollup: %w", pid, err)
		}
		sum += kib << 10
	}
	return sum, nil
}

// ReadBusy is the time that processor cpu has spent on anything but idling since the machine started, in ticks of 10 ms:
// programs, kernel, interrupts, and what a hypervisor took away. With the Usage of a pinned proxy beside it, it shows what
// others took.
func ReadBusy(cpu int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(text, cpu)
}

func parseBusy(text []byte, cpu int) (time.Duration, error) {
	prefix := fmt.Sprintf("cpu%d ", cpu)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		// user nice system idle iowait irq softirq steal
		fields := strings.Fields(line)[1:]
		if len(fields) < 8 {
			break
		}
		var busy time.Duration
		for _, i := range []int{0, 1, 2, 5, 6, 7} {
			ticks, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/stat: %w", err)
			}
			busy += time.Duration(ticks) * clockTick
		}
		return busy, nil
	}
	return 0, fmt.Errorf("/proc/stat has no processor %d", cpu)
}
