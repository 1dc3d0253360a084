import { Api } from "starling-client";
import { answered, attention, expect, live, side, test } from "./rig.js";
import type { Starling } from "./server.js";

const floor = ["type octile", "height 3", "width 5", "map", ".....", ".@.@.", "....."].join("\n");

/** A tenant of its own, so that nobody else sees its warehouses. */
async function tenant(server: Starling): Promise<{ token: string; api: Api }> {
  const root = await server.token("platform_admin");
  const platform = new Api({ url: server.url, token: () => root });
  const slug = `new-${Date.now()}`;
  const { tenant_id } = await platform.create("/api/v1/tenants", { body: { slug, name: "New" } });
  const token = await server.token("admin", { tenant: tenant_id });
  return { token, api: new Api({ url: server.url, token: () => token }) };
}

test("a warehouse without a map says what is missing, and shows the map once there is one", async ({ page, server, visit }) => {
  const { token, api } = await tenant(server);
  const code = "empty";
  const { warehouse_id } = await api.create("/api/v1/warehouses", { body: { warehouse_code: code, name: "Tokyo", timezone: "Asia/Tokyo" } });
  await visit({ query: `warehouse=${code}`, token });
  const stage = page.getByRole("region", { name: "Floor" });
  await expect(stage).toContainText("This warehouse has no active map.");
  await expect(attention(page)).toContainText("Nothing is stuck, late or unavailable.");
  await expect(page.getByText("No open tasks. Press n to create one.")).toBeVisible();
  await page.getByRole("tab", { name: "Robots" }).click();
  await expect(page.getByRole("tabpanel")).toContainText("No robots yet.");
  await page.getByRole("tab", { name: "Zones" }).click();
  await expect(page.getByRole("tabpanel")).toContainText("There is no active map.");
  await page.getByRole("tab", { name: "Charts" }).click();
  await expect(page.getByRole("tabpanel")).toContainText("Tasks done a minute");

  // Its clock is that of the place.
  const hour = (): string => new Intl.DateTimeFormat("en-GB", { timeZone: "Asia/Tokyo", hour: "2-digit", hourCycle: "h23" }).format(Date.now());
  await expect(page.getByTestId("age")).toContainText("GMT+9");
  await expect.poll(async () => (await page.getByTestId("age").locator("time").textContent())?.startsWith(`${hour()}:`)).toBe(true);

  const map = await api.create("/api/v1/maps", { body: { warehouse_id, name: "floor", format: "movingai", content: floor, resolution_m: 1 } });
  await api.post("/api/v1/maps/{map_id}/versions/{n}/activate", { path: { map_id: map.map_id, n: 1 } });
  await expect(stage.getByText("has no active map")).toHaveCount(0, { timeout: 30_000 }); // asked for each 15 s
  await page.keyboard.press("n");
  await stage.getByRole("application").click(); // its middle is free
  await expect(page.getByLabel("Pick up at")).toHaveValue("7");
});

test("a tenant without a warehouse is told what to do", async ({ page, server, context, calm }) => {
  calm.follow(context, server);
  const { token, api } = await tenant(server);
  await page.goto(`${server.url}/#token=${token}`);
  await expect(page.getByRole("heading", { name: "No warehouse yet" })).toBeVisible();
  await api.create("/api/v1/warehouses", { body: { warehouse_code: "first", name: "First", timezone: "Europe/Berlin" } });
  await page.getByRole("button", { name: "Look again" }).click();
  await live(page);
  await expect(page.getByRole("combobox", { name: "Warehouse" })).toHaveText("First");
});

test("what a link names and is not there is said", async ({ page, visit, calm }) => {
  calm.expect(answered(404));
  const nobody = "00000000-0000-4000-8000-000000000000";
  await visit({ query: `task=${nobody}` });
  await expect(side(page)).toContainText("There is no such task.");
  await visit({ query: `zone=${nobody}` });
  await expect(side(page)).toContainText("There is no such zone");
  await visit({ query: `robot=${nobody}` });
  await expect(side(page)).toContainText("There is no such robot");
});
