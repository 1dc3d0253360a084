package robots

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	linkv1 "starling/proto/gen/starling/link/v1"
)

func TestBatteriesAreUsedUpAndFilled(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		battery Battery
		x       float64
		level   float64
		want    float64 // after 100 s of standing and a move of 10 m to x = 10
		state   linkv1.RobotState
	}{
		"off":                    {Battery{}, 0, 0.5, 0.5, linkv1.RobotState_ROBOT_STATE_IDLE},
		"drains":                 {Battery{PerM: 0.01, PerS: 0.001, PerCharge: 0.1}, 0, 0.5, 0.5 - 0.1 - 0.1 - 0.01, linkv1.RobotState_ROBOT_STATE_IDLE},
		"charges, then drives":   {Battery{PerM: 0.01, PerS: 0.001, PerCharge: 0.002, Chargers: []Point{{X: 0}}}, 0, 0.5, 0.5 + 0.2 - 0.1 - 0.01, linkv1.RobotState_ROBOT_STATE_IDLE},
		"is never below nothing": {Battery{PerM: 0.01, PerS: 0.001}, 0, 0.05, 0, linkv1.RobotState_ROBOT_STATE_IDLE},
		"drives to a charger":    {Battery{PerM: 0.01, PerS: 0.001, PerCharge: 0.1, Chargers: []Point{{X: 10}}}, 0, 0.5, 0.5 - 0.1 - 0.1 - 0.01, linkv1.RobotState_ROBOT_STATE_CHARGING},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &Fleet{o: Options{Battery: c.battery, Motion: Motion{SpeedMPS: 1, QuarterTurn: -1}}}
			car := &carrier{fleet: f, rng: rand.New(rand.NewPCG(1, 1))}
			b := &bot{x: c.x, battery: c.level, settled: t0, rng: rand.New(rand.NewPCG(1, 2)), base: []*linkv1.Waypoint{{Vertex: 1, X: 10}}}
			car.settle(t0.Add(100*time.Second), b)
			car.depart(t0.Add(100*time.Second), b)
			car.due(t0.Add(110 * time.Second))
			car.settle(t0.Add(110*time.Second), b)
			if math.Abs(b.battery-c.want) > 1e-6 || b.state() != c.state {
				t.Errorf("%.3f %v, want %.3f %v", b.battery, b.state(), c.want, c.state)
			}
			if flat := c.want == 0; car.flat(b) != flat {
				t.Errorf("flat: %t", !flat)
			}
		})
	}
}
