import { expect, test } from "@playwright/test";
import { FLAG, RobotTable, STATES, WAITING, WAITING_OTHER } from "starling-client";
import { borderOf, eventsOf, type Film, FilmError, floorOfFilm, frameAt, middleOf, parseFilm, show, zonesOfFilm } from "../src/film.js";

const robot = (id: string, x: number, more: object = {}) => ({ id, x, y: 0.5, theta: 0, radius_m: 0.3, goal: 2, task: "t1", waits_for: "", cause: "", ...more });
const recording = () => ({
  name: "two", title: "Two", about: "About two.", floor: { rows: 2, cols: 3, cell_m: 2, cells: ["@.>", "a.."] },
  zones: [{ id: "z1", name: "W", cells: [0, 3] }, { id: "z2", name: "E", cells: [1, 2, 4, 5] }],
  frames: [
    { t: 0, robots: [robot("r1", 0.5), robot("r2", 5, { task: "", goal: -1 })], events: ["r1 comes"] },
    { t: 1, robots: [robot("r1", 1.5, { theta: 3 }), robot("r2", 5, { cause: "occupied", waits_for: "r1" })], events: null },
    { t: 3, robots: [robot("r1", 1.5, { theta: -3 })], events: ["r2 goes", "r1 stays"] },
  ],
});
type Recording = ReturnType<typeof recording>;
const parsed = (): Film => parseFilm(JSON.stringify(recording()));
const fault = (change: (r: Recording) => unknown): string => {
  const r = recording();
  change(r);
  try {
    parseFilm(JSON.stringify(r));
  } catch (e) {
    expect(e).toBeInstanceOf(FilmError);
    return (e as FilmError).message;
  }
  throw new Error("it was taken");
};

test("a recording is read", () => {
  const f = parsed();
  expect(f).toMatchObject({ name: "two", title: "Two", rows: 2, cols: 3, cell: 2 });
  expect(f.frames.map((x) => x.events.length)).toEqual([1, 0, 2]);
  expect(eventsOf(f)).toEqual([{ frame: 0, t: 0, text: "r1 comes" }, { frame: 2, t: 3, text: "r2 goes" }, { frame: 2, t: 3, text: "r1 stays" }]);
});

test("a file that is no recording says what is wrong, and where", () => {
  expect(() => parseFilm("{\"name\": ")).toThrow(/^this is no JSON: /);
  expect(() => parseFilm("[]")).toThrow("the file: want an object, got []");
  expect(() => parseFilm("{\"motion\":{}}")).toThrow("this is JSON but no recording of a scenario: it has no \"floor\"");
  const tests: [(r: Recording) => unknown, string][] = [
    [(r) => (r.frames[1]!.robots[0]!.x = "x" as never), 'frames[1].robots[0].x: want a number, got "x"'],
    [(r) => (r.frames[1]!.robots[1]!.goal = 6), "frames[1].robots[1].goal: want a whole number from -1 to 5, got 6"],
    [(r) => (r.frames[1]!.robots[1]!.id = "r1"), "frames[1].robots: has a robot twice"],
    [(r) => (r.frames[2]!.t = 0.5), "frames[2].t: is 0.5, before the frame in front of it (1)"],
    [(r) => (r.frames = []), "frames: is empty, there is nothing to play"],
    [(r) => (r.frames[0] = 7 as never), "frames[0]: want an object, got 7"],
    [(r) => (r.floor.cells = ["@.>"]), "floor.cells: has 1 rows, floor.rows says 2"],
    [(r) => (r.floor.cells[1] = "a."), "floor.cells[1]: is 2 cells long, floor.cols says 3"],
    [(r) => (r.floor.cell_m = 0), "floor.cell_m: must be more than 0"],
    [(r) => (r.floor.rows = 1e9), "floor.rows: want a whole number from 1 to 1000000, got 1000000000"],
    [(r) => (r.zones[0]!.cells = [9]), "zones[0].cells[0]: want a whole number from 0 to 5, got 9"],
    [(r) => (r.frames[0]!.events = [1] as never), "frames[0].events[0]: want a text, got 1"],
    [(r) => (r.zones = Array.from({ length: 5_001 }, () => ({ id: "z", name: "", cells: [] }))), "zones: has 5001 entries, at most 5000 can be"],
  ];
  for (const [change, want] of tests) expect(fault(change)).toBe(want);
});

test("the floor and its places are where the recorder has them", () => {
  const f = floorOfFilm(parsed());
  expect(f.bounds).toEqual([0, 0, 6, 4]);
  expect([...f.grid!.free]).toEqual([0, 1, 1, 1, 1, 1]);
  expect(f.places.map((p) => [p.vertex, p.name, p.x, p.y])).toEqual([["2", "→", 5, 3], ["3", "a", 1, 1]]);
  expect(middleOf(parsed(), 4)).toEqual({ x: 3, y: 1 });
});

test("zones have the border of their cells", () => {
  expect(zonesOfFilm(parsed()).map((z) => [z.name, z.ring.length])).toEqual([["W", 4], ["E", 4]]);
  expect(zonesOfFilm(parsed())[1]!.ring).toEqual(expect.arrayContaining([[2, 4], [6, 4], [6, 0], [2, 0]]));
  const l = borderOf([0, 3, 4], 3); // an L
  expect(l).toHaveLength(6);
  expect(borderOf([2, 3], 3), "the end of a row does not touch the beginning of the next").toHaveLength(4);
  expect(borderOf([], 3)).toEqual([]);
});

test("the frame of a time is the last one before", () => {
  expect([-1, 0, 0.9, 1, 2.9, 3, 99].map((t) => frameAt(parsed(), t))).toEqual([0, 0, 0, 1, 1, 2, 2]);
});

test("between two frames robots are on their way; who is not there is not shown", () => {
  const t = new RobotTable();
  t.reset(2);
  show(parsed(), 0.5, t);
  expect([t.x[0], t.y[0], t.count]).toEqual([1, 0.5, 2]);
  expect(t.theta[0]).toBeCloseTo(1.5);
  expect([STATES[t.state[0]!], STATES[t.state[1]!], t.speed[0]]).toEqual(["MOVING", "IDLE", 1]);
  expect(t.flags[0]! & FLAG.tasked).toBe(FLAG.tasked);
  show(parsed(), 1, t);
  expect([STATES[t.state[1]!], WAITING[t.waiting[1]!]]).toEqual(["WAITING", "occupied"]);
  show(parsed(), 2, t);
  expect(Math.abs(t.theta[0]!), "the short way round").toBeGreaterThan(3);
  show(parsed(), 3, t);
  expect([t.count, t.live[1], t.row("r2")]).toEqual([1, 0, -1]);
  show(parsed(), 0, t);
  expect([t.row("r1"), t.row("r2")]).toEqual([0, 1]);
});

test("a cause that the client has no number for is some cause", () => {
  const r = recording();
  r.frames[0]!.robots[0] = robot("r1", 0, { cause: "haunted" });
  const t = new RobotTable();
  t.reset(2);
  show(parseFilm(JSON.stringify(r)), 0, t);
  expect(t.waiting[0]).toBe(WAITING_OTHER);
});
