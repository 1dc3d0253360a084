// Each view as a control room sees it, on the demo that `make run` shows: checked by axe, light and dark, and pictured for the documents.
import type { Page } from "@playwright/test";
import { Floor } from "./floor.js";
import { attention, away, expect, live, rows, side, test, visit } from "./rig.js";
import { Starling } from "./server.js";
import { expectAccessible, picture } from "./shot.js";

const DEMO = 200;

let server: Starling;
test.beforeAll(async () => {
  test.setTimeout(360_000);
  server = await Starling.start({ robots: DEMO, tasksPerMinute: 120 });
  if (process.env["SCREENSHOTS"] !== "1") return;
  // On the pictures the floor is in full swing.
  const { warehouse_id } = server.ready;
  await expect.poll(async () => (await server.api.get("/api/v1/overview", { query: { warehouse_id } })).tasks.finished_last_minute, { timeout: 150_000 }).toBeGreaterThan(40);
});
test.afterAll(() => server?.stop());
test.beforeEach(({ context, calm }) => calm.follow(context, server));

const tabs = ["Tasks", "Robots", "Zones", "Charts"] as const;

/** Waits until the demo is in full swing: robots under way, some of them waiting or done. */
async function busy(page: Page): Promise<void> {
  await expect(rows(page, "Tasks").filter({ hasText: "Under way" }).first()).toBeVisible({ timeout: 60_000 });
  await expect(page.getByRole("region", { name: "Floor" }).getByText("Reading the map")).toHaveCount(0);
}

/** The robot of a task that is under way for a while, so that its order is long. */
async function driver(): Promise<string> {
  const under = await server.api.get("/api/v1/tasks", { query: { warehouse_id: server.ready.warehouse_id, status: "EXECUTING", limit: 100 } });
  const id = under.items.find((t) => t.robot_id !== null)?.robot_id;
  if (!id) throw new Error("no task is under way");
  return id;
}

test("sign in", async ({ page }) => {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.goto(server.url);
    await expect(page.getByRole("group", { name: /development server/ })).toBeVisible();
    await expectAccessible(page, `sign in, ${colorScheme}`);
    if (colorScheme === "light") await picture(page, "login");
  }
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`the whole, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await visit(page, server);
    await busy(page);
    await expect(page.locator("html")).toHaveAttribute("data-theme", colorScheme);
    await picture(page, `overview-${colorScheme}`);
    for (const name of tabs) {
      const tab = page.getByRole("tab", { name });
      if ((await tab.getAttribute("aria-selected")) !== "true") await tab.click();
      await expect(tab).toHaveAttribute("aria-selected", "true");
      await expectAccessible(page, `${name}, ${colorScheme}`);
    }
    await page.keyboard.press("?");
    await expect(page.getByRole("dialog", { name: "Keys and signs" })).toBeVisible();
    await expectAccessible(page, `keys, ${colorScheme}`);
  });

  test(`one robot, one task, one to come, ${colorScheme}`, async ({ page, calm }) => {
    void calm;
    const floor = new Floor(page);
    await page.emulateMedia({ colorScheme });
    await visit(page, server);
    await busy(page);
    await rows(page, "Tasks").filter({ hasText: "Under way" }).first().click();
    await expect(side(page).getByRole("list", { name: "Errands" })).toBeVisible();
    await expect(side(page).locator(".history li").first()).toBeVisible();
    await expectAccessible(page, `a task, ${colorScheme}`);
    if (colorScheme === "light") await picture(page, "task");

    const id = await driver();
    await page.goto(`${page.url().split("?")[0]!}?robot=${id}`);
    await live(page);
    await expect(side(page).getByText("granted")).toBeVisible();
    await side(page).getByText(/^vertex \d+$/).click();
    await expect.poll(() => floor.camera()?.scale ?? 0).toBeGreaterThan(13);
    await expect(async () => {
      const pause = side(page).getByRole("button", { name: "Pause" }); // the demo resumes a robot now and then, perhaps this one
      if (await pause.isVisible()) await pause.click();
      await expect(side(page).getByRole("button", { name: /^Resume ./ })).toBeVisible({ timeout: 8_000 });
    }).toPass({ timeout: 60_000 });
    await expectAccessible(page, `a robot, ${colorScheme}`);
    if (colorScheme === "light") await picture(page, "robot");

    await page.keyboard.press("n");
    const box = (await floor.map.boundingBox())!;
    for (const [i, field] of ["Pick up at", "Drop off at"].entries()) {
      // Some cell around here is free.
      for (let n = 0; n < 8 && (await page.getByLabel(field).inputValue()) === ""; n++) await page.mouse.click(box.x + box.width * (0.35 + 0.3 * i) + 16 * n, box.y + box.height * 0.5 + 16 * n);
      await expect(page.getByLabel(field)).not.toHaveValue("");
    }
    await expectAccessible(page, `a new task, ${colorScheme}`);
    if (colorScheme === "light") await picture(page, "new-task");
    await page.keyboard.press("Escape");
    await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: id }, body: { command: "resume" } });
    await expect(side(page)).not.toContainText("Paused");
  });
}

test("what needs somebody", async ({ page }) => {
  const { items } = await server.api.get("/api/v1/robots", { query: { limit: 6 } });
  for (const r of items) await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: r.robot_id }, body: { command: "pause" } });
  const soon = new Date(Date.now() + 2_000).toISOString();
  await server.api.create("/api/v1/tasks", { body: { task_type: "go_to", warehouse_id: server.ready.warehouse_id, robot_id: items[0]!.robot_id, payload: { dropoff: items[1]!.vertex! }, deadline: soon } });
  await visit(page, server);
  await expect(attention(page).getByText("it is paused").nth(3)).toBeVisible({ timeout: 30_000 });
  await expect(attention(page).getByText("deadline has passed").first()).toBeVisible({ timeout: 30_000 });
  await page.keyboard.press("a");
  await expect(side(page)).toBeVisible();
  await expectAccessible(page, "what needs somebody");
  await picture(page, "attention");
  for (const r of items) await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: r.robot_id }, body: { command: "resume" } });
});

test("zones and how full they are", async ({ page }) => {
  await visit(page, server, { query: "tab=zones" });
  await page.getByLabel("Layers").first().click();
  await page.getByRole("checkbox", { name: "Occupancy" }).check();
  await rows(page, "Zones").first().click();
  await expect(side(page)).toContainText(/of \d+ robots/);
  await expectAccessible(page, "zones");
  await expect(page.getByRole("checkbox", { name: "Occupancy" })).toBeHidden(); // the menu closes when it is left
  await picture(page, "zones");
});

test("what the traffic of a busy floor costs, and who waits", async ({ page }) => {
  let dear = 0;
  page.on("websocket", (ws) => ws.on("framereceived", ({ payload }) => (dear += typeof payload === "string" ? payload.split('"cost_ratio":').length - 1 : 0)));
  await page.emulateMedia({ colorScheme: "dark" });
  await visit(page, server, { query: "tab=none&layers=zones+flow+waits" });
  await expect.poll(() => dear, { message: "lanes that the zones find dear", timeout: 60_000 }).toBeGreaterThan(0);
  const legend = page.getByRole("complementary", { name: "Legend" });
  await expect(legend).toContainText(/waits: \d/);
  await expectAccessible(page, "traffic and waits, dark");
  await picture(page, "traffic");
});

test("charts fill while the page is open", async ({ page }) => {
  await visit(page, server, { query: "tab=charts" });
  const moving = page.locator("figure").filter({ hasText: "moving" }).locator("figcaption");
  await expect(moving).toContainText(/moving \d+ · waiting \d+/, { timeout: 30_000 });
  if (process.env["SCREENSHOTS"] === "1") await expect.poll(() => page.evaluate(() => performance.now()), { timeout: 80_000, message: "there is something to see on the picture" }).toBeGreaterThan(60_000);
  await expectAccessible(page, "charts");
  await picture(page, "charts");
});

for (const [name, width, height] of [["tablet", 1024, 768], ["tablet-upright", 820, 1180]] as const) {
  test(`on a tablet, ${width} x ${height}`, async ({ page }) => {
    await page.setViewportSize({ width, height });
    await visit(page, server);
    await busy(page);
    await expectAccessible(page, name);
    expect(await page.evaluate(() => document.documentElement.scrollWidth), "nothing is cut off at the right").toBeLessThanOrEqual(width);
    await picture(page, name);
    await page.getByRole("button", { name: /^⚑/ }).click();
    await expect(attention(page)).toBeVisible();
    await expectAccessible(page, `${name}, what needs somebody`);
    await page.getByRole("button", { name: /^⚑/ }).click();
    await rows(page, "Tasks").first().click();
    await expect(side(page)).toBeVisible();
    await expectAccessible(page, `${name}, a task`);
    const top = (await side(page).boundingBox())!;
    expect(top.x + top.width, "the panel is in sight").toBeLessThanOrEqual(width);
  });
}

test("without WebGL the floor is drawn all the same", async ({ page }) => {
  const floor = new Floor(page);
  const free: number[] = [];
  for (const renderer of ["webgl", "canvas"]) {
    await visit(page, server, { query: `diagnostics&tab=none&at=250,70,8&renderer=${renderer}` });
    const diagnostics = page.getByTestId("diagnostics");
    await expect(diagnostics).toHaveAttribute("data-renderer", renderer);
    await expect(diagnostics).toHaveAttribute("data-robots", `${DEMO}`);
    await floor.looksAt({ x: 250, y: 70 }, 8);
    const count = async (): Promise<number> => (await floor.pixelsOf("--robot-moving", { x: 250, y: 70 }, 300)) + (await floor.pixelsOf("--robot-idle", { x: 250, y: 70 }, 300)) + (await floor.pixelsOf("--robot-waiting", { x: 250, y: 70 }, 300));
    await expect.poll(count, { message: `${renderer}: robots are drawn` }).toBeGreaterThan(50);
    free.push(await floor.pixelsOf("--floor-free", { x: 250, y: 70 }, 300));
  }
  // Both draw about the same floor.
  expect(Math.min(...free)).toBeGreaterThan(10_000);
  expect(Math.min(...free)).toBeGreaterThan(0.8 * Math.max(...free));
});

test("a sign-in that has expired", async ({ page }) => {
  await visit(page, server, { token: await server.token("operator", { expiresInS: 12 }) });
  await busy(page);
  await expect(page.getByRole("dialog", { name: "Your sign-in has expired" })).toBeVisible({ timeout: 40_000 });
  await expectAccessible(page, "expired");
  await picture(page, "expired");
});

test("another token, and a connection that is lost", async ({ page, calm }) => {
  calm.expect(...away);
  await visit(page, server);
  await busy(page);
  const menu = page.getByLabel(/^Signed in as/);
  await menu.click();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Sign out" })).toBeHidden();
  await menu.click();
  await page.getByRole("button", { name: "Give another token" }).click();
  const dialog = page.getByRole("dialog", { name: "Give another token" });
  await expect(dialog).toBeVisible();
  await expectAccessible(page, "another token");
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();
  await menu.click();
  await page.getByRole("button", { name: "Give another token" }).click();
  await dialog.getByRole("button", { name: "viewer" }).click();
  await expect(dialog).toBeHidden();
  await live(page);
  await expect(page.getByRole("button", { name: "New task" })).toHaveCount(0);

  await server.kill();
  await expect(page.getByTestId("banner")).toContainText("Connection lost");
  await expect(page.getByTestId("age")).toContainText("old", { timeout: 30_000 });
  await expectAccessible(page, "connection lost");
  await picture(page, "connection-lost");
});
