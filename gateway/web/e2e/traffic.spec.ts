import type { Page } from "@playwright/test";
import { Cells, idle, type Bot } from "./floor.js";
import { changeZones } from "./jam.js";
import { expect, rows, side, test } from "./rig.js";
import { expectAccessible, picture } from "./shot.js";

const layer = (page: Page, name: string) => page.getByRole("checkbox", { name, exact: true });

test("lanes have the colour of what they cost now, in both themes", async ({ page, server, visit, floor }) => {
  const at = (await Cells.of(server)).near({ x: 30, y: 30 }, 4)[0]!;
  const lane = (id: string, ratio: number, dy: number) => ({ lane_id: `${id}0000000-0000-4000-8000-000000000000`, cost_ratio: ratio, from: [at.x - 3, at.y + dy] as [number, number], to: [at.x + 3, at.y + dy] as [number, number] });
  const { told } = await changeZones(page, (z) => ({ ...z, lanes: [...(z.lanes ?? []), lane("a", 1.2, 3), lane("b", 1.7, 1), lane("c", 2.4, -1), lane("d", 9, -3)] }));
  await visit({ query: `tab=none&at=${at.x},${at.y},40` });
  await expect.poll(() => told.length).toBeGreaterThan(0);
  expect(Object.keys(told[0]!.window ?? {}).sort()).toEqual(["admitted", "enforced", "inbound", "limit", "shadow"]);
  expect(Array.isArray(told[0]!.lanes)).toBe(true);
  const south = { x: at.x, y: at.y - 3.3 }; // its lane is on its right side
  expect(await floor.pixelsOf("--flow-3", south)).toBe(0);
  await expect(page.getByRole("complementary", { name: "Legend" })).toHaveCount(0);

  await page.getByLabel("Layers").click();
  await layer(page, "Traffic").check();
  await expect(page).toHaveURL(/layers=zones(\+|%20)flow/);
  await expect(page.getByRole("complementary", { name: "Legend" })).toContainText("3 × and more");
  for (const [token, dy] of [["--flow-0", 3], ["--flow-1", 1], ["--flow-2", -1], ["--flow-3", -3]] as const) {
    await expect.poll(() => floor.pixelsOf(token, { x: at.x, y: at.y + dy - 0.3 }), { message: token }).toBeGreaterThan(30);
  }
  await page.keyboard.press("Escape");
  const { x, y } = await floor.pixel({ x: at.x + 1, y: at.y - 3.3 });
  await page.mouse.move(x, y);
  await expect(page.getByText("lane: 9.0 × as long as without traffic")).toBeVisible();
  await expectAccessible(page, "traffic");

  await page.getByRole("button", { name: "Use the dark theme" }).click();
  await expect.poll(() => floor.pixelsOf("--flow-3", south)).toBeGreaterThan(30);
  await page.getByRole("button", { name: "Use the light theme" }).click();
  await page.getByLabel("Layers").click();
  await layer(page, "Traffic").uncheck();
  await expect.poll(() => floor.pixelsOf("--flow-3", south)).toBe(0);
});

test("who waits for whom is drawn, the chain of the selected robot to its root", async ({ page, server, visit, floor }) => {
  const robots = await idle(server);
  const held = robots[20]!;
  const far = (b: Bot): number => Math.abs(b.x - held.x) + Math.abs(b.y - held.y);
  const waiter = robots.filter((b) => b.id !== held.id).sort((a, b) => far(a) - far(b))[0]!;
  const command = (id: string, body: { command: "pause" | "resume" }) => server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: id }, body });
  await command(held.id, { command: "pause" });
  const { task_id } = await server.api.create("/api/v1/tasks", { body: { task_type: "go_to", warehouse_id: server.ready.warehouse_id, robot_id: waiter.id, payload: { dropoff: held.vertex } } });
  const waits = () => server.api.get("/api/v1/waits", { query: { warehouse_id: server.ready.warehouse_id } });
  await expect.poll(async () => (await waits()).waits.map((w) => [w.robot_id, w.holder_id]), { timeout: 60_000 }).toContainEqual([waiter.id, held.id]);
  const r = await server.api.get("/api/v1/robots/{robot_id}", { path: { robot_id: waiter.id } });
  const middle = { x: (held.x + r.pose!.x) / 2, y: (held.y + r.pose!.y) / 2 };

  await visit({ query: `tab=none&at=${middle.x},${middle.y},110` });
  expect(await floor.pixelsOf("--wait", middle, 12)).toBe(0);
  await page.getByLabel("Layers").click();
  await layer(page, "Waits").check();
  const legend = page.getByRole("complementary", { name: "Legend" });
  await expect(legend).toContainText(/waits: [1-9]/);
  await expect(legend).toContainText("in a ring: 0");
  await expect.poll(() => floor.pixelsOf("--wait", middle, 12)).toBeGreaterThan(10);
  await page.keyboard.press("Escape");

  // The chain is drawn whatever the layers say.
  await floor.click(r.pose!);
  await expect(side(page).getByRole("heading", { level: 2 })).toHaveText(waiter.code);
  await expect.poll(() => floor.pixelsOf("--select", middle, 8)).toBeGreaterThan(10);
  await picture(page, "waits");
  await page.getByLabel("Layers").click();
  await layer(page, "Waits").uncheck();
  await expect(legend).toHaveCount(0);
  await expect.poll(() => floor.pixelsOf("--select", middle, 8)).toBeGreaterThan(10);

  await server.api.post("/api/v1/tasks/{task_id}/cancel", { path: { task_id }, body: {} });
  await command(held.id, { command: "resume" });
  await expect.poll(() => floor.pixelsOf("--select", middle, 8), { timeout: 60_000 }).toBe(0);
});

test("a zone says how many robots it admits, and with whom it is planned", async ({ page, server, visit }) => {
  const zones = await server.api.get("/api/v1/zones", { query: { map_id: server.ready.map_id, kind: "traffic", limit: 500 } });
  const [one, two] = [zones.items.find((z) => z.name === "block-2-7")!, zones.items.find((z) => z.name === "block-2-8")!];
  let merged = false;
  const { told } = await changeZones(page, (z) => (merged && [one.zone_id, two.zone_id].includes(z.zone_id)
    ? { ...z, window: { limit: 8, admitted: 5, inbound: 2, enforced: true, shadow: 6 }, domain: { term: 3, leader: two.zone_id } } : z));
  await visit({ query: `tab=zones&zone=${one.zone_id}` });
  const limit = told.find((z) => z.zone_id === one.zone_id)!.window!.limit;
  await expect(side(page).getByTestId("window")).toContainText(limit > 0 ? `of at most ${limit}` : "no limit set");
  await expect(side(page).getByTestId("domain")).toHaveText("Planned by itself.");

  merged = true;
  await page.reload();
  await expect(side(page).getByTestId("window")).toHaveText("5 in it and 2 on their way, of at most 8: no more are let in than that. The adaptive controller, which only watches, would set 6.");
  await expect(side(page).getByTestId("domain")).toHaveText("Planned for the moment as one with block-2-8; led by block-2-8, term 3.");
  const chart = side(page).locator("figure").filter({ hasText: "Window, robots" });
  await expect(chart.locator(".last")).toHaveText("in it 5 · on their way 2 · limit 8 · adaptive 6");
  await expect(chart.locator("canvas")).toBeVisible();
  await expect(rows(page, "Zones").filter({ hasText: "block-2-7" })).toContainText("5 + 2 of 8, enforced · merged");
  await page.waitForTimeout(process.env["SCREENSHOTS"] === "1" ? 20_000 : 0); // a line, not a point
  await expectAccessible(page, "zone");
  await picture(page, "zone-window");
  await side(page).getByRole("button", { name: "block-2-8" }).first().click();
  await expect(side(page).getByTestId("domain")).toContainText("it leads, term 3.");
});
