import { expect, test } from "@playwright/test";
import { Cadence, frameEveryMs } from "../src/map/cadence.js";
import { CROWD, detailOf, LEAST_ALONE_PX, LEAST_PX, MOST_PX, robotPx, SPECK_PX } from "../src/map/detail.js";

const far = 2.4, near = 12; // CSS pixels a metre

test("a crowd is shown as zones from afar and as robots from near", () => {
  expect(detailOf(far, 1, 100_000, 240, "robots")).toBe("clusters");
  expect(detailOf(near, 1, 100_000, 240, "clusters")).toBe("robots");
});

test("a fleet that fits on the screen stays robots from afar", () => {
  expect(detailOf(far, 1, 10_000, 240, "robots")).toBe("robots");
  expect(detailOf(far, 1, CROWD, 240, "robots")).toBe("robots");
  expect(detailOf(far, 1, CROWD + 1, 240, "robots")).toBe("clusters");
});

test("without robots in the table zones are shown from afar, robots from near", () => {
  expect(detailOf(far, 1, 0, 240, "robots")).toBe("clusters");
  expect(detailOf(near, 1, 0, 240, "clusters")).toBe("robots");
});

test("without zones there is nothing to show but robots", () => {
  expect(detailOf(far, 1, 100_000, 0, "clusters")).toBe("robots");
});

test("larger cells are recognised from farther away", () => {
  expect(detailOf(far, 3, 100_000, 240, "robots")).toBe("robots");
});

test("at the border nothing flickers", () => {
  const border = SPECK_PX / 0.86;
  expect(detailOf(border * 0.99, 1, 30_000, 9, "robots")).toBe("clusters");
  expect(detailOf(border * 1.05, 1, 30_000, 9, "clusters")).toBe("clusters");
  expect(detailOf(border * 1.05, 1, 30_000, 9, "robots")).toBe("robots");
  expect(detailOf(border * 1.2, 1, 30_000, 9, "clusters")).toBe("robots");
  expect(detailOf(far, 1, CROWD - 100, 9, "clusters")).toBe("clusters");
});

test("a robot is drawn as large as its cell, within limits", () => {
  expect(robotPx(20, 1, 10_000)).toBeCloseTo(17.2);
  expect(robotPx(1, 1, 10_000)).toBe(LEAST_PX);
  expect(robotPx(1, 1, 20)).toBe(LEAST_ALONE_PX);
  expect(robotPx(1, 1, 2_000)).toBeGreaterThan(LEAST_PX);
  expect(robotPx(1, 1, 2_000)).toBeLessThan(LEAST_ALONE_PX);
  expect(robotPx(500, 1, 1)).toBe(MOST_PX);
});

test("motion is given up where frames are dear, and tried again ever more seldom", () => {
  const c = new Cadence();
  for (let i = 0; i < 6; i++) c.frame(16, i);
  expect(c.allows(100)).toBe(true);
  for (let i = 0; i < 6; i++) c.frame(200, 1000);
  expect(c.allows(1001)).toBe(false);
  expect(c.allows(15_999)).toBe(false);
  expect(c.allows(16_001)).toBe(true);
  for (let i = 0; i < 6; i++) c.frame(200, 17_000);
  expect(c.allows(40_000)).toBe(false); // now 30 s
  expect(c.allows(47_001)).toBe(true);
});

test("a single slow frame, or a sleeping tab, is not a slow machine", () => {
  const c = new Cadence();
  c.frame(120_000, 0);
  for (const ms of [16, 16, 150, 16, 16, 16, 16]) c.frame(ms, 1);
  expect(c.allows(2)).toBe(true);
});

test("no frame is drawn for a motion nobody could see", () => {
  expect(frameEveryMs(2.5, 2)).toBeCloseTo(100);
  expect(frameEveryMs(50, 2)).toBeCloseTo(5);
  expect(frameEveryMs(0.001, 2)).toBe(250);
});
