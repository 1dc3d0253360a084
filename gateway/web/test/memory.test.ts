import { expect, test } from "@playwright/test";
import { RobotTable } from "starling-client";
import { Memory, SAMPLES } from "../src/memory.js";

function table(battery: number, speed: number): RobotTable {
  const t = new RobotTable();
  const row = t.enter("r1", "R1");
  t.battery[row] = battery;
  t.speed[row] = speed;
  return t;
}

test("a robot's battery and speed are remembered, gaps as gaps", () => {
  const m = new Memory();
  m.sample(5_000, table(0.5, 1.5), new Map(), 5_000);
  m.sample(6_000, table(0.1, 0), new Map(), 6_000); // too soon
  m.sample(10_000, null, new Map(), 10_000);
  m.sample(15_000, table(NaN, 1), new Map(), 15_000);
  const [times, battery, speed] = m.robot("r1");
  expect(times).toEqual([5, 10, 15]);
  expect(battery).toEqual([50, null, null]);
  expect(speed).toEqual([1.5, null, 1]);
});

test("the oldest sample makes way for the newest", () => {
  const m = new Memory();
  for (let i = 1; i <= SAMPLES + 20; i++) m.sample(i * 5_000, table(0.5, i % 2), new Map(), i * 5_000);
  const [times] = m.robot("r1");
  expect(times.length).toBe(SAMPLES);
  expect(times[times.length - 1]).toBe((SAMPLES + 20) * 5);
});

test("who was never seen has only gaps", () => {
  const m = new Memory();
  m.sample(5_000, null, new Map([["z", { zone_id: "z", occupancy: 1300, capacity: 5, queue_length: 1, version: 1 }]]));
  expect(m.zone("z")).toEqual([[5], [1300], [1]]);
  expect(m.robot("nobody")).toEqual([[5], [null], [null]]);
});

test("a zone's window is remembered; no limit is a gap", () => {
  const m = new Memory();
  const status = (limit: number, shadow: number) => new Map([["z", { zone_id: "z", occupancy: 3, capacity: 5, queue_length: 1, version: 1, window: { limit, admitted: 3, inbound: 2, enforced: true, shadow } }]]);
  m.sample(5_000, null, status(8, 6), 5_000);
  m.sample(10_000, null, new Map(), 10_000);
  m.sample(15_000, null, status(0, 0), 15_000);
  expect(m.window("z")).toEqual([[5, 10, 15], [3, null, 3], [2, null, 2], [8, null, null], [6, null, null]]);
  expect(m.window("other")).toEqual([[5, 10, 15], [null, null, null], [null, null, null], [null, null, null], [null, null, null]]);
});

test("windows of more zones than are remembered are counted", () => {
  const m = new Memory();
  const window = { limit: 8, admitted: 3, inbound: 2, enforced: true, shadow: 9 };
  m.sample(5_000, null, new Map(Array.from({ length: 2_010 }, (_, i) => [`z${i}`, { zone_id: `z${i}`, occupancy: 0, capacity: 5, queue_length: 0, version: 1, window }])), 5_000);
  expect(m.dropped).toBe(10);
  for (let i = 2; i < SAMPLES + 70; i++) m.sample(i * 5_000, null, new Map(), i * 5_000);
  m.sample(5_000_000, null, new Map([["new", { zone_id: "new", occupancy: 0, capacity: 5, queue_length: 0, version: 1, window }]]), 5_000_000);
  expect(m.dropped).toBe(10);
  expect(m.window("new")[1]!.at(-1)).toBe(3);
});

test("a clock that is set does not stop the samples", () => {
  const m = new Memory();
  m.sample(600_000, table(0.5, 1), new Map(), 5_000);
  m.sample(10_000, table(0.5, 1), new Map(), 10_000);
  m.sample(605_000, table(0.5, 1), new Map(), 15_000);
  expect(m.robot("r1")[0]).toEqual([600, 605]);
});

test("who was not seen for long makes room for others", () => {
  const m = new Memory();
  const crowd = new RobotTable();
  for (let i = 0; i < 30_000; i++) crowd.battery[crowd.enter(`a${i}`, "")] = 0.5;
  m.sample(5_000, crowd, new Map(), 5_000);
  for (let i = 2; i < 260; i++) m.sample(i * 5_000, table(0.5, 1), new Map(), i * 5_000);
  expect(m.robot("r1")[1]!.at(-1)).toBe(50);
});

test("what happened while nobody looked is a gap", () => {
  const m = new Memory();
  const o = { tasks: { finished_last_minute: 7 }, robots: { state: {} }, decision_ms: null, command_ms: null } as Parameters<Memory["tempo"]>[1];
  m.tempo(1_000, o);
  m.tempo(3_000, o);
  m.tempo(3_600_000, o);
  expect(m.finished()).toEqual([[1, 3, 4, 3600], [7, 7, null, 7]]);
});
