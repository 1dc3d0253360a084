import { expect, test } from "@playwright/test";
import { between, type Camera, fitted, held, mapX, mapY, MAX_SCALE, panned, type Rect, rectOf, screenX, screenY, zoomedAt } from "../src/map/camera.js";

const bounds: Rect = [0, 0, 500, 140];
const W = 1280, H = 720;

test("a point of the map goes to the screen and back", () => {
  const c: Camera = { x: 120, y: 40, scale: 7 };
  expect(screenX(c, W, 120)).toBe(640);
  expect(screenY(c, H, 41)).toBe(353); // y is up
  expect(mapX(c, W, screenX(c, W, 33.5))).toBeCloseTo(33.5);
  expect(mapY(c, H, screenY(c, H, 99.5))).toBeCloseTo(99.5);
});

test("fitting shows all of the floor, in the middle", () => {
  const c = fitted(bounds, W, H);
  expect(c).toMatchObject({ x: 250, y: 70 });
  const [x0, y0, x1, y1] = rectOf(c, W, H);
  expect(x0).toBeLessThanOrEqual(0);
  expect(y0).toBeLessThanOrEqual(0);
  expect(x1).toBeGreaterThanOrEqual(500);
  expect(y1).toBeGreaterThanOrEqual(140);
  expect(screenX(c, W, 0)).toBeCloseTo(24);
});

test("fitting a host too small for its padding still gives a camera", () => {
  const c = fitted(bounds, 10, 10);
  expect(c.scale).toBeGreaterThan(0);
});

test("zooming keeps the point under the pointer where it is", () => {
  const c: Camera = { x: 250, y: 70, scale: 5 };
  const x = mapX(c, W, 900), y = mapY(c, H, 200);
  const next = zoomedAt(c, bounds, W, H, 900, 200, 1.7);
  expect(next.scale).toBeCloseTo(8.5);
  expect(screenX(next, W, x)).toBeCloseTo(900);
  expect(screenY(next, H, y)).toBeCloseTo(200);
});

test("zooming in at the end of the scale moves nothing", () => {
  const c: Camera = { x: 250, y: 70, scale: MAX_SCALE };
  expect(zoomedAt(c, bounds, W, H, 10, 10, 2)).toEqual(c);
});

test("the floor cannot be lost: the scale has ends and the centre stays on it", () => {
  expect(held({ x: 9999, y: -50, scale: 1e9 }, bounds, W, H)).toEqual({ x: 500, y: 0, scale: MAX_SCALE });
  expect(held({ x: 1, y: 1, scale: 0 }, bounds, W, H).scale).toBeCloseTo(fitted(bounds, W, H).scale / 2);
  const mended = held({ x: NaN, y: NaN, scale: NaN }, bounds, W, H);
  expect([mended.x, mended.y].every(Number.isFinite) && mended.scale > 0).toBe(true);
});

test("a drag to the right brings what lies left", () => {
  expect(panned({ x: 250, y: 70, scale: 10 }, bounds, W, H, 100, 50)).toEqual({ x: 240, y: 75, scale: 10 });
});

test("a flight begins here, ends there, and zooms evenly", () => {
  const from: Camera = { x: 10, y: 10, scale: 2 }, to: Camera = { x: 90, y: 50, scale: 32 };
  expect(between(from, to, 0)).toEqual(from);
  const end = between(from, to, 1);
  expect(end.x).toBeCloseTo(90);
  expect(end.y).toBeCloseTo(50);
  expect(end.scale).toBeCloseTo(32);
  expect(between(from, to, 0.5).scale).toBeCloseTo(8); // halfway in factors
  const level = between(from, { ...to, scale: 2 }, 0.5);
  expect(level).toEqual({ x: 50, y: 30, scale: 2 });
});

test("a zoom that keeps a point still keeps it still on the way", () => {
  const from: Camera = { x: 250, y: 70, scale: 5 };
  const to = zoomedAt(from, bounds, W, H, 900, 200, 4);
  const x = mapX(from, W, 900);
  for (const t of [0.2, 0.5, 0.8]) expect(screenX(between(from, to, t), W, x)).toBeCloseTo(900, 3);
});
