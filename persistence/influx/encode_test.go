package influx

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func status(i int, at time.Time) fact.Status {
	return fact.Status{
		Shard: fleet.Shard{Tenant: "t", Warehouse: "w"}, Robot: fleet.RobotID(fmt.Sprint("r", i)), Boot: "b", Seq: 7, At: at, ReceivedAt: at, Map: "m", MapVersion: 2,
		Vertex: 4, Zone: "z", Pose: fleet.Pose{X: 1.23456, Y: 2, Theta: .5}, VelocityMPS: 1, Battery: .75, State: fleet.Moving, Task: "task",
		SamplingHz: 1, Pace: robot.PaceMoving, Located: true,
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	plain, key, odd := status(1, t0), status(1, t0), status(1, t0)
	key.Key = true
	key.Errors = []fleet.RobotError{{Code: `say "no"\` + "\n"}}
	odd.Robot, odd.Located, odd.Vertex, odd.Zone = `a b,c=d\`, false, fleet.NoVertex, ""
	odd.WaitingFor, odd.WaitingOn = fleet.CauseOccupied, "r2"
	for name, c := range map[string]struct{ got, want string }{
		"what always changes": {
			string(appendStatus(nil, &plain)),
			`robot_status,tenant=t,warehouse=w,robot_id=r1 seq=7i,x=1.235,y=2.000,theta=0.5000,velocity_mps=1.000,battery_soc=0.7500,state="MOVING",vertex=4i,zone_id="z" 1772366400000` + "\n",
		},
		"a key point": {
			string(appendStatus(nil, &key)),
			`robot_status,tenant=t,warehouse=w,robot_id=r1 seq=7i,x=1.235,y=2.000,theta=0.5000,velocity_mps=1.000,battery_soc=0.7500,state="MOVING",vertex=4i,zone_id="z",` +
				`boot_id="b",map_id="m",map_version=2i,task_id="task",lane_id="",goal_zone_id="",sampling_hz=1.000,errors=1i,received_ms=1772366400000i,error_code="say \"no\"\\ " 1772366400000` + "\n",
		},
		"names that must be escaped": {
			string(appendStatus(nil, &odd)),
			`robot_status,tenant=t,warehouse=w,robot_id=a\ b\,c\=d\\ seq=7i,velocity_mps=1.000,battery_soc=0.7500,state="MOVING",waiting_for="occupied",waiting_on="r2" 1772366400000` + "\n",
		},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, c.got, c.want)
		}
	}
}

func TestAStatusAllocatesNothing(t *testing.T) {
	s := status(1, t0)
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = appendStatus(b[:0], &s) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkAppendStatus(b *testing.B) {
	s := status(1, t0)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendStatus(buf[:0], &s)
	}
	b.SetBytes(int64(len(buf)))
}

func TestQuotedStringsAreNoCode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`a"b`: `"a\"b"`, `${x}`: `"\${x}"`, `\`: `"\\"`, "a\nb": `"a b"`} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add("#datatype,string,long,dateTime:RFC3339,string,double\n,result,table,_time,_field,_value\n,mean,0,2026-03-01T12:00:00Z,x,1.5\n,mean,0,2026-03-01T12:00:01Z,x,\n\n" +
		"#datatype,string,long,dateTime:RFC3339,string,string\n,result,table,_time,_field,_value\n,last,1,2026-03-01T12:00:00Z,state,IDLE\n")
	f.Add("#datatype,string,string\n,error,reference\n,it is broken,897\n")
	f.Add("error,reference\nbroken,\n")
	f.Add("reference,code,error\nshort\n")
	f.Fuzz(func(t *testing.T, s string) {
		cells, err := readCSV(strings.NewReader(s))
		for _, c := range cells {
			if err == nil && (c.field == "" || c.at.IsZero() && c.value == nil) {
				t.Fatalf("%+v", c)
			}
		}
	})
}

func TestReadCSV(t *testing.T) {
	t.Parallel()
	cells, err := readCSV(strings.NewReader("#datatype,string,long,dateTime:RFC3339,string,double\n,result,table,_time,_field,_value\n,mean,0,2026-03-01T12:00:00Z,x,1.5\n,mean,0,2026-03-01T12:00:01Z,x,\n\n" +
		"#datatype,string,long,dateTime:RFC3339,string,string\n,result,table,_time,_field,_value\n,last,1,2026-03-01T12:00:00Z,state,\n"))
	if err != nil || len(cells) != 2 || cells[0].value != 1.5 || cells[0].agg != fact.Mean || cells[1].value != "" || cells[1].agg != fact.Last {
		t.Fatalf("%+v, %v", cells, err)
	}
	if _, err := readCSV(strings.NewReader("#datatype,string,string\n,error,reference\n,it is broken,897\n")); err == nil || !strings.Contains(err.Error(), "it is broken") {
		t.Fatalf("%v, want the server's complaint", err)
	}
}
