// A robot's past: what was measured of it in its panel, and its track on the map. The demo has no time-series store: memory tells.
import { expect, ROBOTS, side, test } from "./rig.js";
import { expectAccessible } from "./shot.js";

test("battery, speed and track of a robot", async ({ page, visit, server }) => {
  const { items } = await server.api.get("/api/v1/robots", { query: { warehouse_id: server.ready.warehouse_id, limit: ROBOTS } });
  const robot = items.find((r) => r.pose && r.battery_soc !== null)!;
  await visit({ query: `robot=${robot.robot_id}` });
  const history = side(page).getByRole("region", { name: "History" });
  await expect(history).toBeVisible();
  const battery = history.locator("figure").filter({ hasText: "Battery" });
  await expect(battery.locator(".last")).toHaveText(new RegExp(`battery ${Math.floor(100 * robot.battery_soc!)}`), { timeout: 20_000 });
  await expect(battery.locator("canvas")).toBeVisible();
  await expect(history.locator("figure").filter({ hasText: "Speed" }).locator(".last")).toHaveText(/mean .* greatest/);

  const asked = page.waitForResponse((r) => r.url().includes(`/robots/${robot.robot_id}/history`) && r.url().includes("fields=x"), { timeout: 20_000 });
  await history.getByRole("checkbox", { name: /Track on the map/ }).check();
  const way = (await (await asked).json()) as { items: { fields: { x: number | null } | null }[]; source: string };
  expect(way.source).toBe("memory");
  expect(way.items.some((i) => i.fields !== null && typeof i.fields.x === "number")).toBe(true);

  const again = page.waitForResponse((r) => r.url().includes("every=10m"), { timeout: 20_000 });
  await history.getByRole("combobox").selectOption({ label: "24 h" });
  expect((await again).status()).toBe(200);
  await expect(history.getByText("Nothing older is kept")).toBeVisible();
  await expectAccessible(page, "history");
});
