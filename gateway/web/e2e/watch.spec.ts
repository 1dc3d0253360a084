import { Cells, idle } from "./floor.js";
import { expect, live, rows, ROBOTS, side, test } from "./rig.js";

test("robots are seen to move", async ({ page, server, visit, floor }) => {
  const [robot] = await idle(server);
  const goal = (await Cells.of(server)).near(robot!, 7)[0]!;
  await visit({ query: `at=${robot!.x},${robot!.y},20&tab=none&robot=${robot!.id}` });
  await floor.looksAt(robot!, 20);
  const panel = side(page);
  await expect(panel).toContainText(`vertex ${robot!.vertex}`);
  await expect.poll(() => floor.pixelsOf("--select", robot!), { message: "the robot has its ring" }).toBeGreaterThan(20);
  const before = await floor.picture(robot!, 60);

  await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: robot!.id }, body: { command: "go_to", vertex: goal.vertex } });
  await expect(panel).toContainText("Moving");
  await expect(panel.getByText(/^[1-9]\d* granted|to \d+ ·/)).toBeVisible();
  await expect.poll(() => floor.pixelsOf("--select", robot!), { message: "the ring has left with its robot" }).toBe(0);
  expect(await floor.picture(robot!, 60)).not.toEqual(before);
  await expect(panel).toContainText(`vertex ${goal.vertex}`, { timeout: 60_000 });
  await expect(panel).toContainText("Idle");
  await floor.map.focus();
  await page.keyboard.press("Escape");
  await expect(panel).toBeHidden();
});

test("the map and the table share what is selected", async ({ page, server, visit, floor }) => {
  const [, one, two] = await idle(server);
  await visit({ query: `at=${one!.x},${one!.y},20&tab=robots` });
  await floor.looksAt(one!, 20);
  await expect(rows(page, "Robots").first()).toBeVisible();
  await floor.click(one!);
  await expect(side(page).getByRole("heading", { name: one!.code })).toBeVisible();
  await expect(rows(page, "Robots").filter({ hasText: one!.code })).toHaveAttribute("aria-current", "true");

  await rows(page, "Robots").filter({ hasText: two!.code }).click();
  await expect(side(page).getByRole("heading", { name: two!.code })).toBeVisible();
  await floor.looksAt(two!);
  await expect.poll(() => floor.pixelsOf("--select", two!)).toBeGreaterThan(20);

  await page.keyboard.press("Escape");
  await expect(side(page)).toBeHidden();
  await expect(page.locator(".rows [aria-current]")).toHaveCount(0);
  await expect.poll(() => floor.pixelsOf("--select", two!)).toBe(0);
});

test("a row far down the table is shown when its robot is chosen on the map", async ({ page, server, visit, floor }) => {
  const last = (await idle(server)).at(-1)!;
  await visit({ query: `at=${last.x},${last.y},20&tab=robots` });
  await floor.looksAt(last, 20);
  await expect(page.getByText(`${ROBOTS} shown`)).toBeVisible();
  await floor.click(last);
  await expect(side(page).getByRole("heading", { name: last.code })).toBeVisible();
  await expect(rows(page, "Robots").filter({ hasText: last.code })).toBeInViewport();
});

test("one box finds robots, places, zones and tasks, by keys alone", async ({ page, server, visit, floor }) => {
  const [, , , robot] = await idle(server);
  const cells = await Cells.of(server);
  const place = cells.near({ x: 250, y: 70 }, 0)[0]!;
  const zones = await server.api.get("/api/v1/zones", { query: { map_id: server.ready.map_id, limit: 500 } });
  const zone = zones.items.find((z) => z.name === "block-2-7")!;
  const body = { task_type: "go_to" as const, warehouse_id: server.ready.warehouse_id, payload: { dropoff: place.vertex }, earliest_start: new Date(Date.now() + 3600_000).toISOString() };
  const { task_id } = await server.api.create("/api/v1/tasks", { body });
  await visit();
  await expect(page.getByText("1 shown")).toBeVisible();
  const find = async (text: string): Promise<void> => {
    await page.keyboard.press("/");
    await expect(page.getByRole("combobox", { name: /Search/ })).toBeFocused();
    await page.keyboard.type(text);
  };
  const found = page.getByRole("listbox", { name: "Found" });
  const first = found.getByRole("option", { selected: true });

  await find(robot!.code);
  await expect(first).toContainText(`robot ${robot!.code}`);
  await page.keyboard.press("Enter");
  await expect(side(page).getByRole("heading", { name: robot!.code })).toBeVisible();
  await floor.looksAt(robot!);

  await find(place.vertex);
  await expect(first).toContainText(`place ${place.vertex}`);
  await page.keyboard.press("Enter");
  await floor.looksAt(place);

  await find("block-2-7");
  await expect(first).toContainText("zone block-2-7");
  await page.keyboard.press("Enter");
  await expect(side(page).getByRole("heading", { name: zone.name })).toBeVisible();

  await find(task_id.slice(0, 8));
  await expect(first).toContainText("task");
  await page.keyboard.press("Enter");
  await expect(side(page)).toContainText(task_id);
  await expect(side(page)).toContainText("Not before");

  await find("sim-");
  await expect(found.getByRole("option")).toHaveCount(12);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await expect(found.getByRole("option").nth(1)).toHaveAttribute("aria-selected", "true");
  await page.keyboard.press("Escape");
  await expect(found).toBeHidden();
  await expect(side(page)).toContainText(task_id); // Esc in the box closes the box alone

  await find("nowhere at all");
  await expect(found.getByRole("option")).toHaveText("Nothing of that name");
  await page.keyboard.press("Escape");
  await server.api.post("/api/v1/tasks/{task_id}/cancel", { path: { task_id }, body: {} });
});

test("the same link shows a colleague the same", async ({ page, browser, server, visit, floor, calm }) => {
  const [, , , , robot] = await idle(server);
  await visit();
  await page.keyboard.press("2");
  await page.getByRole("searchbox", { name: "Robot code" }).fill("0000");
  await page.getByRole("group", { name: "Which robots" }).getByRole("button", { name: "available", exact: true }).click();
  await rows(page, "Robots").filter({ hasText: robot!.code }).click();
  await floor.looksAt(robot!);
  await floor.map.focus();
  await page.keyboard.press("+");
  await expect.poll(() => floor.camera()!.scale).toBeGreaterThan(15);
  const link = page.url();

  const other = await browser.newContext();
  calm.follow(other, server);
  const colleague = await other.newPage();
  await colleague.goto(`${link}#token=${await server.token("viewer")}`);
  await live(colleague);
  await expect(side(colleague).getByRole("heading", { name: robot!.code })).toBeVisible();
  await expect(colleague.getByRole("searchbox", { name: "Robot code" })).toHaveValue("0000");
  await expect(colleague.getByRole("button", { name: "available", exact: true })).toHaveAttribute("aria-pressed", "true");
  await expect(rows(colleague, "Robots")).toHaveText(await rows(page, "Robots").locator("[role=cell]:first-child").allTextContents().then((codes) => codes.map((c) => new RegExp(`^${c}`))));
  await expect.poll(() => colleague.url()).toBe(link);
  await other.close();

  await page.goBack();
  await expect(side(page)).toBeHidden();
});
