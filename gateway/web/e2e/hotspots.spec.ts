// Where it jams: on the map, in the list, in the panel of a zone. The floor is calm: what a jam would say is put in on its way to the page.
import type { Page } from "@playwright/test";
import type { Heat, Schemas } from "starling-client";
import { changeHeat } from "./jam.js";
import { expect, press, side, test } from "./rig.js";
import { expectAccessible, picture } from "./shot.js";

const list = (page: Page) => page.getByRole("list", { name: "Hotspots" });

test("a jam is seen on the map, in the list and in its zone's panel, and something is done about it", async ({ page, server, visit, floor }) => {
  test.setTimeout(240_000); // a bin is ten seconds long, and told seven seconds later
  const { api, ready } = server;
  const { items: zones } = await api.get("/api/v1/zones", { query: { map_id: ready.map_id, kind: "traffic", limit: 500 } });
  const bad = zones.find((z) => z.name === "block-2-7")!, worse = zones.find((z) => z.name === "block-2-6")!;
  const ring = bad.polygon.coordinates[0]!;
  const mid = (i: number): number => (Math.min(...ring.map((p) => p[i]!)) + Math.max(...ring.map((p) => p[i]!))) / 2;
  const at = { x: mid(0), y: mid(1) };
  const lanes = () => api.get("/api/v1/lanes", { query: { map_id: ready.map_id, bbox: [at.x - 2, at.y - 2, at.x + 2, at.y + 2], limit: 1 } });
  const { items: [lane] } = await lanes();
  const [from, to] = lane!.geometry.coordinates as [[number, number], [number, number]];
  const hot = { congestion_index: 0.52, level: 2, risk_score: 0.6, confidence: 0.8, mean_speed_ratio: 0.4, queue_length: 5, trend: 0.1, forecast_60: 0.58, inbound: 3 };
  const jammed = (z: Heat): Heat => (z.id === bad.zone_id ? { ...z, ...hot } : z.id === worse.zone_id ? { ...z, ...hot, congestion_index: 0.71, level: 3 } : z);
  const { told } = await changeHeat(page, jammed, (z): Heat[] => (z.id === bad.zone_id ? [{ ...z, ...hot, kind: "lane", id: lane!.lane_id, zone_id: bad.zone_id, from, to, congestion_index: 0.65, level: 3 }] : []));
  const action: Schemas["Action"] = {
    action: "close_lane", label: "Close the lane", expected: { congestion_index: -0.12, robots: 4, within_s: 120 }, method: "PATCH", path: `/api/v1/lanes/${lane!.lane_id}`, body: { closed: true, reason: "congestion" },
  };
  await page.route("**/api/v1/congestion/hotspots?*", async (route) => {
    // All zones are calm, so that any fifty are the worst.
    const answer = await route.fetch({ url: route.request().url().replace(/limit=\d+/, "limit=500") });
    const b = (await answer.json()) as Schemas["Hotspots"];
    b.items = b.items.map((i) => ({ ...jammed(i), recent: i.id === bad.zone_id || i.id === worse.zone_id ? Array.from({ length: 30 }, (_, n) => 0.1 + n / 70) : i.recent, suggested_actions: i.id === bad.zone_id ? [action] : [] }));
    b.items.sort((x, y) => y.congestion_index - x.congestion_index);
    await route.fulfill({ response: answer, json: b });
  });

  const learned = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => ({ density: n / 20, production: (2.6 * n * (13 - n)) / 42, weight: 40 / n }));
  await page.route("**/api/v1/congestion/zones/*/diagram", async (route) => {
    const answer = await route.fetch();
    const d = (await answer.json()) as Schemas["Diagram"];
    const more = { points: learned, of_class: learned.map((p) => ({ ...p, production: 0.85 * p.production })), critical_density: 0.325, greatest_production: 2.6, peak_known: true, now: { density: 0.38, production: 2.3, level: 2 } };
    await route.fulfill({ response: answer, json: { ...d, ...more } });
  });

  await visit({ query: `tab=hotspots&at=${at.x},${at.y},18` });
  await expect.poll(() => told.some((z) => z.id === bad.zone_id), { timeout: 60_000 }).toBe(true);
  await expect(list(page).getByRole("listitem").filter({ hasText: "block-2-" })).toContainText([/L3\s*block-2-6\s*0.71/, /L2\s*block-2-7\s*0.52.*rising.*5 wait.*3 on their way/]);
  expect(await floor.pixelsOf("--flow-3", { x: (from[0] + to[0]) / 2, y: (from[1] + to[1]) / 2 })).toBe(0);

  // The layer: zones by colour, border and number, lanes by colour and width.
  await page.getByRole("checkbox", { name: "On the map" }).check();
  await expect(page).toHaveURL(/layers=zones(\+|%20)jams/);
  await expect(page.getByRole("complementary", { name: "Legend" })).toContainText("0.45 to 0.6");
  const onLane = { x: (from[0] + to[0]) / 2, y: (from[1] + to[1]) / 2 };
  await expect.poll(() => floor.pixelsOf("--flow-3", onLane)).toBeGreaterThan(20);
  await expectAccessible(page, "hotspots");
  await picture(page, "hotspots");
  await page.getByRole("button", { name: "Use the dark theme" }).click();
  await expect.poll(() => floor.pixelsOf("--flow-3", onLane)).toBeGreaterThan(20);
  await expectAccessible(page, "hotspots, dark");
  await page.getByRole("button", { name: "Use the light theme" }).click();

  // Something is done about it, after the page has said what.
  const spot = list(page).getByRole("listitem").filter({ hasText: "block-2-7" }).first();
  await expect(spot).toContainText("−0.12 within 2 min, 4 robots");
  const sent = page.waitForRequest((r) => r.method() === "PATCH" && r.url().includes("/lanes/"));
  try {
    await press(spot, "Close the lane");
    expect((await sent).postDataJSON()).toEqual(action.body);
    await expect.poll(async () => (await lanes()).items[0]!.closed).toBe(true);
  } finally {
    await api.patch("/api/v1/lanes/{lane_id}", { path: { lane_id: lane!.lane_id }, body: { closed: false } }); // the floor is everybody's
  }

  // A minute ahead, said to be by persistence.
  await page.getByRole("radio", { name: "In a minute" }).check();
  await expect(page.getByTestId("source")).toContainText("Expected, by persistence");

  // Its zone: where it is on its diagram, and how its index went.
  await spot.getByRole("button", { name: "block-2-7" }).click();
  const congestion = side(page).getByRole("region", { name: "Congestion" });
  await expect(congestion.getByTestId("congestion")).toContainText("L2 Index 0.52, ↗ rising; 0.58 expected in a minute. Speed 40 %");
  await expect(congestion.getByRole("img", { name: /Diagram of the zone\. Now/ })).toBeVisible();
  await expect(congestion.getByTestId("standing")).toHaveText("Now 0.38 robots per vertex, 2.30 moves a second: 117 % of the critical density 0.33, beyond it production falls.");
  await expect(congestion.locator("svg .own")).toHaveCount(learned.length + 1); // and one in the key
  await expect(congestion.locator("figure").filter({ hasText: "Congestion index" }).locator(".last")).toHaveText(/mean \d.* greatest/, { timeout: 40_000 });
  await expectAccessible(page, "congestion of a zone");
  await picture(page, "zone-congestion");

  await page.keyboard.press("h");
  await expect.poll(() => floor.pixelsOf("--flow-3", onLane)).toBe(0);
});
