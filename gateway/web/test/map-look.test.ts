import { expect, test } from "@playwright/test";
import { CONNECTIONS, FLAG, STATES, WAITING, WAITING_OTHER } from "starling-client";
import { HEARD, LOOKS, MARK, packLook, PAINTS, SHAPES, SILENT } from "../src/map/look.js";
import { PAINT_TOKENS, TOKENS } from "../src/map/theme.js";

const online = CONNECTIONS.indexOf("ONLINE"), stale = CONNECTIONS.indexOf("STALE"), offline = CONNECTIONS.indexOf("OFFLINE");
const state = (s: (typeof STATES)[number]): number => STATES.indexOf(s);
const shape = (look: number): string | undefined => SHAPES[look & 0xff];
const paint = (look: number): string | undefined => PAINTS[(look >>> 8) & 0xff];
const marks = (look: number): number => (look >>> 16) & 0xff;
const rank = (look: number): number => look >>> 24;

test("every state has a shape and a colour, every connection a meaning", () => {
  expect(Object.keys(LOOKS).sort()).toEqual([...STATES].sort());
  expect(Object.keys(HEARD).sort()).toEqual([...CONNECTIONS].sort());
  for (const look of [...Object.values(LOOKS), SILENT]) {
    expect(SHAPES).toContain(look.shape);
    expect(PAINTS).toContain(look.paint);
  }
});

test("no two states share a shape, nor one with a robot nobody hears: colour is never the only difference", () => {
  const shapes = [...Object.values(LOOKS), SILENT].map((l) => l.shape);
  expect(new Set(shapes).size).toBe(shapes.length);
});

test("every colour is a custom property that the theme reads", () => {
  expect(PAINT_TOKENS).toHaveLength(PAINTS.length);
  for (const token of PAINT_TOKENS) expect(TOKENS).toContain(token);
});

test("every state and connection packs into a look that the shader knows", () => {
  for (let s = 0; s < STATES.length; s++) {
    for (let c = 0; c < CONNECTIONS.length; c++) {
      const look = packLook(s, c, 0, 0);
      expect(shape(look)).toBeDefined();
      expect(paint(look)).toBeDefined();
      expect(rank(look)).toBeLessThanOrEqual(9);
    }
  }
});

test("a robot looks as its state says", () => {
  expect(shape(packLook(state("MOVING"), online, FLAG.posed, 0))).toBe("arrow");
  expect(shape(packLook(state("ERROR"), online, FLAG.posed, 0))).toBe("triangle");
});

test("a stale robot is hollow, a silent one is drawn as silent whatever it did", () => {
  expect(marks(packLook(state("MOVING"), stale, 0, 0)) & MARK.hollow).toBeTruthy();
  expect(marks(packLook(state("MOVING"), online, 0, 0)) & MARK.hollow).toBe(0);
  for (let s = 0; s < STATES.length; s++) {
    expect(shape(packLook(s, offline, 0, 0))).toBe("gap");
    expect(shape(packLook(s, CONNECTIONS.indexOf("NEVER_SEEN"), 0, 0))).toBe("gap");
  }
});

test("a robot that waits with a task can be told from one that waits without", () => {
  const cause = WAITING.indexOf("occupied");
  const tasked = packLook(state("WAITING"), online, FLAG.tasked, cause), free = packLook(state("WAITING"), online, 0, cause);
  expect(marks(tasked) & MARK.tasked).toBeTruthy();
  expect(marks(free) & MARK.tasked).toBe(0);
  expect(rank(tasked)).toBeGreaterThan(rank(free));
  expect(marks(packLook(state("MOVING"), online, FLAG.tasked, 0)) & MARK.tasked).toBe(0);
  expect(marks(packLook(state("IDLE"), online, FLAG.tasked, WAITING_OTHER)) & MARK.tasked).toBeTruthy();
});

test("foreign control and faults are marked, a fault not twice", () => {
  expect(marks(packLook(state("IDLE"), online, FLAG.external, 0)) & MARK.external).toBeTruthy();
  expect(marks(packLook(state("IDLE"), offline, FLAG.external, 0)) & MARK.external).toBeTruthy();
  expect(marks(packLook(state("IDLE"), online, FLAG.faulty, 0)) & MARK.faulty).toBeTruthy();
  expect(marks(packLook(state("ERROR"), online, FLAG.faulty, 0)) & MARK.faulty).toBe(0);
});

test("errors lie on top", () => {
  const error = rank(packLook(state("ERROR"), online, 0, 0));
  for (const s of STATES) if (s !== "ERROR") expect(rank(packLook(state(s), online, FLAG.tasked, 0))).toBeLessThan(error);
});

test("a state of a newer server is drawn as something", () => {
  expect(shape(packLook(200, online, 0, 0))).toBe("gap");
  expect(shape(packLook(state("IDLE"), 200, 0, 0))).toBe("gap");
});
