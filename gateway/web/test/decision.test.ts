import { expect, test } from "@playwright/test";
import { changeOf, type Decision, longest, partsOf, seconds } from "../src/decision.js";

const cost = (more: object = {}) => ({ travel: 12.34, queue: 0, battery: 1.5, priority: -4, deadline: 0, total: 9.84, ...more });
const decision = (robot: string | null, total: number): Decision => ({ robot_id: robot, cost: cost({ total }), alternatives: [], cycle: [] }) as unknown as Decision;
const name = (id: string): string => id.toUpperCase();

test("a cost is shown by its parts, without what is nothing", () => {
  expect(partsOf(cost())).toEqual([{ name: "the way to it", seconds: 12.34 }, { name: "battery", seconds: 1.5 }, { name: "priority", seconds: -4 }]);
  expect(longest(partsOf(cost({ priority: -40 })))).toBe(40);
  expect(longest([])).toBeGreaterThan(0);
});

test("a part that this page does not know comes last", () => {
  expect(partsOf(cost({ floor_wear: 2, deadline: -1 })).map((p) => p.name)).toEqual(["the way to it", "battery", "priority", "deadline", "floor wear"]);
});

test("seconds have a sign where it tells", () => {
  expect([seconds(12.34), seconds(-4), seconds(2, true), seconds(-2, true)]).toEqual(["12.3 s", "−4.0 s", "+2.0 s", "−2.0 s"]);
});

test("what a decision changed is said", () => {
  expect(changeOf(decision("a", 5), undefined, name)).toBe("");
  expect(changeOf(decision("b", 5), decision("a", 9), name)).toBe("Moved from A to B, 4.0 s cheaper than when that was decided.");
  expect(changeOf(decision("a", 9), decision("a", 9), name)).toBe("Still A, at the same cost.");
  expect(changeOf(decision("a", 9), decision(null, 0), name)).toBe("A, where before no robot could be found.");
  expect(changeOf(decision(null, 9), decision("a", 0), name)).toBe("Taken from A.");
  expect(changeOf(decision(null, 0), decision(null, 0), name)).toBe("Still no robot.");
});
