import { expect, test } from "@playwright/test";
import { floorOf, placeAt, placeOf } from "../src/map/floor.js";

const grid = floorOf({
  map_id: "m", version: 1, bounds: [0, 0, 6, 4], net: null, places: [{ vertex: "4", name: "Dock", x: 3, y: 1, parking: false, charging: true }],
  grid: { rows: 2, cols: 3, resolution_m: 2, free: btoa(String.fromCharCode(0b110111)) }, // cell 3 is blocked
});
const net = floorOf({
  map_id: "m", version: 1, bounds: [0, 0, 5, 0], grid: null, places: [{ vertex: "b", name: "End", x: 5, y: 0, parking: true, charging: false }],
  net: { ids: ["a", "b"], x: [0, 5], y: [0, 0], lanes: [[0, 1]] },
});

test("a point of a grid is the cell that it lies in", () => {
  expect(placeAt(grid, 1, 3, 0)?.vertex).toBe("0");
  expect(placeAt(grid, 5.9, 0.1, 0)?.vertex).toBe("5");
  expect(placeAt(grid, 3, 1, 0)).toMatchObject({ vertex: "4", name: "Dock" });
});

test("blocked cells and what lies outside are no places", () => {
  expect(placeAt(grid, 1, 1, 5)).toBeNull();
  expect(placeAt(grid, -0.1, 1, 5)).toBeNull();
  expect(placeAt(grid, 1, 4.1, 5)).toBeNull();
  expect(placeOf(grid, "3")).toBeNull();
  expect(placeOf(grid, "99")).toBeNull();
});

test("cells are found by number and by name, at their centre", () => {
  expect(placeOf(grid, "0")).toMatchObject({ x: 1, y: 3 });
  expect(placeOf(grid, "Dock")?.vertex).toBe("4");
});

test("a point of a roadmap is the nearest vertex within reach", () => {
  expect(placeAt(net, 1, 0, 2)?.vertex).toBe("a");
  expect(placeAt(net, 4, 0, 2)).toMatchObject({ vertex: "b", name: "End" });
  expect(placeAt(net, 2.5, 0, 2)).toBeNull();
  expect([...net.net!.lanes]).toEqual([0, 0, 5, 0]);
});
