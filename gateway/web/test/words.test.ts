import { expect, test } from "@playwright/test";
import { CONNECTIONS, FLAG, RobotTable, STATES, WAITING } from "starling-client";
import { causeWords, errands, SHOWN, shows, statusOf } from "../src/words.js";

test("each cause that the engine gives is said in words", () => {
  for (const cause of WAITING.slice(1)) expect(causeWords(cause)).not.toBe(cause.replaceAll("_", " "));
  expect(causeWords("a_new_one")).toBe("a new one");
});

test("each state has a sign, and who is not heard never looks alive", () => {
  const signs = new Set<string>();
  for (const s of STATES.slice(1)) signs.add(statusOf("ONLINE", s).sign);
  expect(signs.size).toBe(STATES.length - 1);
  for (const c of CONNECTIONS.filter((x) => x !== "ONLINE")) expect(statusOf(c, "MOVING").sign).toBe("offline");
});

test("robots are in the groups where one looks for them", () => {
  const t = new RobotTable();
  const row = t.enter("r", "R");
  const set = (state: number, connection: number, flags: number, battery = 0.9): string[] => {
    t.state[row] = state;
    t.connection[row] = connection;
    t.flags[row] = flags;
    t.battery[row] = battery;
    return SHOWN.filter((s) => shows(s, t, row));
  };
  expect(set(1, 1, 0)).toEqual(["available"]);
  expect(set(2, 1, FLAG.tasked)).toEqual(["working"]);
  expect(set(3, 1, FLAG.tasked)).toEqual(["working", "waiting"]);
  expect(set(4, 1, 0, 0.1)).toEqual(["charging", "low battery"]);
  expect(set(6, 1, FLAG.tasked)).toEqual(["working", "unavailable"]);
  expect(set(1, 3, 0)).toEqual(["unavailable"]);
});

test("errands are in the order in which they are driven", () => {
  expect(errands({ task_type: "transport", payload: { dropoff: "b", pickup: "a" } }).map((e) => e.place)).toEqual(["a", "b"]);
  expect(errands({ task_type: "patrol", payload: { waypoints: ["x", "y"] } }).map((e) => e.kind)).toEqual(["waypoint", "waypoint"]);
  expect(errands({ task_type: "charge", payload: {} })).toEqual([]);
});
