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
  m.sample(5_000, table(0.5, 1.5), new Map());
  m.sample(6_000, table(0.1, 0), new Map()); // too soon
  m.sample(10_000, null, new Map());
  m.sample(15_000, table(NaN, 1), new Map());
  const [times, battery, speed] = m.robot("r1");
  expect(times).toEqual([5, 10, 15]);
  expect(battery).toEqual([50, null, null]);
  expect(speed).toEqual([1.5, null, 1]);
});

test("the oldest sample makes way for the newest", () => {
  const m = new Memory();
  for (let i = 1; i <= SAMPLES + 20; i++) m.sample(i * 5_000, table(0.5, i % 2), new Map());
  const [times] = m.robot("r1");
  expect(times.length).toBe(SAMPLES);
  expect(times[times.length - 1]).toBe((SAMPLES + 20) * 5);
});

test("who was never seen has only gaps", () => {
  const m = new Memory();
  m.sample(5_000, null, new Map([["z", { zone_id: "z", occupancy: 3, capacity: 5, queue_length: 1, version: 1 }]]));
  expect(m.zone("z")).toEqual([[5], [3], [1]]);
  expect(m.robot("nobody")).toEqual([[5], [null], [null]]);
});
