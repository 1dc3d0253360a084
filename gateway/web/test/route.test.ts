import { expect, test } from "@playwright/test";
import { playerShown } from "../src/playback.js";
import { layers, look, query, readQuery, robotFilter, selection, tab, taskFilter, warehouseCode } from "../src/route.js";

test("what a link says is what its page shows, and the other way round", () => {
  const link = "warehouse=demo&task=4d1f&tab=robots&status=EXECUTING&late=1&show=waiting&layers=zones+heat&at=12.5%2C30.0%2C8.000";
  readQuery(`?${link}`);
  expect(warehouseCode.value).toBe("demo");
  expect(selection.value).toEqual({ type: "task", id: "4d1f" });
  expect(tab.value).toBe("robots");
  expect(taskFilter.value).toEqual({ status: "EXECUTING", text: "", late: true });
  expect(robotFilter.value.show).toBe("waiting");
  expect(look.value).toEqual({ x: 12.5, y: 30, scale: 8 });
  expect(query.value).toBe(link);
});

test("traffic, waits, congestion and the player are in the link", () => {
  readQuery("?layers=zones+flow+waits+jams&play");
  expect(layers.value).toEqual({ zones: true, heat: false, names: false, lanes: false, flow: true, waits: true, jams: true });
  expect(playerShown.value).toBe(true);
  expect(query.value).toBe("layers=zones+flow+waits+jams&play=1");
  readQuery("");
  expect([layers.value.flow, playerShown.value]).toEqual([false, false]);
});

test("a link without anything is the plain page", () => {
  readQuery("");
  expect(query.value).toBe("");
  expect(tab.value).toBe("tasks");
});

test("what cannot be read is left out", () => {
  for (const at of ["x,y,z", "1,2", "1,2,3,4", "1,2,-3", "1,2,Infinity"]) {
    readQuery(`?tab=secrets&at=${at}&robot=`);
    expect(look.value).toBeNull();
    expect(tab.value).toBe("tasks");
    expect(selection.value).toBeNull();
  }
});
