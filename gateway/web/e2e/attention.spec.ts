import { Cells, idle } from "./floor.js";
import { attention, expect, press, rows, side, test } from "./rig.js";

test("what needs somebody is listed with since when, why and what to press", async ({ page, server, visit, floor }) => {
  const robot = (await idle(server))[10]!;
  const goal = (await Cells.of(server)).near(robot, 4)[0]!;
  await visit();
  const list = attention(page).getByRole("list", { name: "What needs somebody" });
  await expect(attention(page)).toContainText("Nothing is stuck, late or unavailable.");

  await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: robot.id }, body: { command: "pause" } });
  const item = list.getByRole("listitem").filter({ hasText: robot.code }).filter({ hasNotText: "Late" }); // what is late names the robot too, in what would help
  await expect(item).toContainText("Unavailable: it is paused");
  await expect(item.locator(".since")).toHaveText(/^\d+(\.\d)? s$/);
  await expect(attention(page).getByRole("heading")).toHaveText("Needs you 1");

  // A task for it comes late, since it may not drive.
  const body = { task_type: "go_to" as const, warehouse_id: server.ready.warehouse_id, robot_id: robot.id, payload: { dropoff: goal.vertex }, deadline: new Date(Date.now() + 3_000).toISOString() };
  const { task_id } = await server.api.create("/api/v1/tasks", { body });
  const late = list.getByRole("listitem").filter({ hasText: `task ${task_id.slice(0, 8)}` });
  await expect(late).toContainText("Late: its deadline has passed", { timeout: 30_000 });
  await page.getByRole("button", { name: /^1 late$/ }).click();
  await expect(rows(page, "Tasks")).toHaveCount(1);
  await expect(rows(page, "Tasks")).toContainText("◷ late");
  await attention(page).getByRole("button", { name: /^Late/ }).click();
  await expect(item).toHaveCount(0);
  await attention(page).getByRole("button", { name: /^Late/ }).click();
  await expect(item).toBeVisible();

  // `a` goes from one to the next.
  const seen: string[] = [];
  for (let i = 0; i < 2; i++) {
    await page.keyboard.press("a");
    await expect(side(page)).toBeVisible();
    await expect.poll(async () => seen.includes(await side(page).getByRole("heading", { level: 2 }).innerText())).toBe(false);
    seen.push(await side(page).getByRole("heading", { level: 2 }).innerText());
  }
  expect(seen.sort()).toEqual([robot.code, task_id.slice(0, 8)].sort());
  await floor.looksAt(robot);

  await press(item, `Resume ${robot.code}`);
  await expect(item).toHaveCount(0);
  await expect(late).toHaveCount(0, { timeout: 60_000 });
  await expect(attention(page)).toContainText("Nothing is stuck, late or unavailable.");
});
