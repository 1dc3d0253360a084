import type { Page } from "@playwright/test";
import { Cells, idle, type Bot, type Floor, type Spot } from "./floor.js";
import { answered, expect, press, rows, side, sure, test } from "./rig.js";

const form = (page: Page) => page.getByRole("form", { name: "New task" });

/** Makes a transport by pointing at the map; gives the task's id. */
async function point(page: Page, floor: Floor, from: Spot, to: Spot): Promise<string> {
  await page.getByRole("button", { name: "New task" }).click();
  await floor.click(from);
  await expect(form(page).getByLabel("Pick up at")).toHaveValue(from.vertex);
  await floor.click(to);
  await expect(form(page).getByLabel("Drop off at")).toHaveValue(to.vertex);
  await form(page).getByRole("button", { name: "Create the task" }).click();
  await expect(page.getByRole("log")).toContainText("Task created");
  await expect(form(page)).toHaveCount(0);
  return (await side(page).locator("dd code").textContent())!;
}

test("a task is made by pointing at the map, and is seen through to its end", async ({ page, server, visit, floor }) => {
  const robot = (await idle(server))[5]!;
  const cells = await Cells.of(server);
  const from = cells.near(robot, 3)[0]!, to = cells.near(robot, 6)[0]!;
  await visit({ query: `at=${robot.x},${robot.y},20` });
  await floor.looksAt(robot, 20);
  const id = await point(page, floor, from, to);
  await expect(page).toHaveURL(new RegExp(`task=${id}`));
  const row = rows(page, "Tasks").filter({ hasText: id.slice(0, 8) });
  await expect(row).toHaveAttribute("aria-current", "true");
  await expect(side(page)).toContainText(/Assigned|Under way/, { timeout: 30_000 });
  await expect(side(page).getByRole("list", { name: "Errands" })).toContainText(`Pick up at ${from.vertex}`);
  await expect(side(page)).toContainText("✓ Done", { timeout: 60_000 });
  await expect(row).toContainText("Done");
  await expect(side(page).getByRole("list", { name: "Errands" })).toContainText(`Drop off at ${to.vertex} ✓`);
  await expect(side(page)).toContainText("Why this robot");
  const after = await server.api.get("/api/v1/tasks/{task_id}", { path: { task_id: id } });
  expect(after.status).toBe("SUCCEEDED");
  const carrier = await server.api.get("/api/v1/robots/{robot_id}", { path: { robot_id: after.robot_id! } });
  expect(carrier.vertex).toBe(to.vertex);
});

test("what is wrong with a new task is said where it is wrong", async ({ page, server, visit, calm }) => {
  calm.expect(answered(422));
  await visit();
  await page.keyboard.press("n");
  const from = form(page).getByLabel("Pick up at"), to = form(page).getByLabel("Drop off at");
  await from.fill("Atlantis");
  await to.fill((await idle(server))[0]!.vertex);
  await form(page).getByRole("button", { name: "Create the task" }).click();
  await expect(from).toHaveAttribute("aria-invalid", "true");
  await expect(from).toHaveAccessibleDescription(/\w/);
  await expect(form(page).getByRole("alert")).toHaveCount(1);
  await expect(to).toHaveAttribute("aria-invalid", "false");

  await form(page).getByLabel(/^Robot/).fill("no-such-robot");
  await form(page).getByRole("button", { name: "Create the task" }).click();
  await expect(form(page).getByLabel(/^Robot/)).toHaveAccessibleDescription("this warehouse has no robot of that code");
  await page.keyboard.press("Escape");
  await expect(form(page)).toHaveCount(0);
  await expect(rows(page, "Tasks").filter({ hasText: "Atlantis" })).toHaveCount(0);
});

test("a task is cancelled, visibly until the robot has confirmed", async ({ page, server, visit, floor }) => {
  const robot = (await idle(server))[6]!;
  const far = (await Cells.of(server)).near(robot, 18);
  const body = { task_type: "transport" as const, warehouse_id: server.ready.warehouse_id, robot_id: robot.id, payload: { pickup: far[0]!.vertex, dropoff: far[1]!.vertex } };
  const { task_id } = await server.api.create("/api/v1/tasks", { body });
  await visit({ query: `task=${task_id}` });
  await expect(side(page)).toContainText("Under way", { timeout: 30_000 });
  const row = rows(page, "Tasks").filter({ hasText: task_id.slice(0, 8) });
  await expect(row).toContainText("Under way");
  const button = side(page).getByRole("button", { name: "Cancel the task" });
  await button.click();
  await expect(button).toHaveAccessibleName("Sure? Cancel the task");
  await expect(button, "one press alone does nothing").toHaveAccessibleName("Cancel the task");
  expect((await server.api.get("/api/v1/tasks/{task_id}", { path: { task_id } })).status).toBe("EXECUTING");
  await sure(button);
  await expect(side(page)).toContainText(/Cancelling|Cancelled/);
  await expect(side(page)).toContainText("Cancelled", { timeout: 30_000 });
  await expect(row).toContainText("Cancelled");
  await expect(side(page).getByRole("button", { name: "Cancel the task" })).toHaveCount(0);
  await expect(page.getByRole("log")).toContainText(`Cancel task ${task_id.slice(0, 8)}`);

  // From the table too, and what is to be seen follows the filter.
  const other = (await server.api.create("/api/v1/tasks", { body })).task_id;
  const otherRow = rows(page, "Tasks").filter({ hasText: other.slice(0, 8) });
  await sure(otherRow.getByRole("button", { name: /Cancel task/ }));
  await expect(otherRow).toContainText("Cancelled", { timeout: 30_000 });
  await page.getByRole("combobox", { name: "Status" }).selectOption("Open");
  await expect(otherRow).toHaveCount(0);
  await expect(floor.map).toBeVisible();
});

test("a task that waits says why, and what would help does", async ({ page, server, visit }) => {
  const robot = (await idle(server))[7]!;
  const goal = (await Cells.of(server)).near(robot, 18)[0]!;
  const body = { task_type: "go_to" as const, warehouse_id: server.ready.warehouse_id, robot_id: robot.id, payload: { dropoff: goal.vertex } };
  const { task_id } = await server.api.create("/api/v1/tasks", { body });
  await visit({ query: `robot=${robot.id}` });
  await expect(side(page)).toContainText("Moving", { timeout: 30_000 });
  await side(page).getByRole("button", { name: "Pause" }).click();
  await expect(page.getByRole("log")).toContainText(`✓ ${robot.code}: pause`, { timeout: 30_000 });
  await expect(side(page)).toContainText("Paused");

  await rows(page, "Tasks").filter({ hasText: task_id.slice(0, 8) }).click();
  const why = side(page).getByRole("list", { name: "Why it waits" });
  await expect(why).toContainText("it is paused", { timeout: 30_000 });
  await expect(why).toContainText(/for \d/);
  await why.getByRole("button", { name: robot.code, exact: true }).click();
  await expect(side(page).getByRole("heading", { name: robot.code })).toBeVisible();
  await press(side(page).getByRole("list", { name: "Why it waits" }), `Resume ${robot.code}`);
  await expect(page.getByRole("log")).toContainText(`Resume ${robot.code}`);
  await expect(side(page).getByTestId("why")).toContainText("waits for nothing");
  await expect(side(page)).toContainText(`vertex ${goal.vertex}`, { timeout: 60_000 });
});

test("a robot that stands in another's way is named, and moved by the remedy", async ({ page, server, visit, floor }) => {
  const { api } = server;
  const [driver, blocker] = closest(await idle(server));
  const send = (id: string, body: { command: "pause" | "go_to"; vertex?: string }) => api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: id }, body });
  await send(blocker.id, { command: "pause" });
  await visit({ query: `at=${driver.x},${driver.y},20` });
  await floor.looksAt(driver, 20);
  await floor.click(driver); // before it moves
  await send(driver.id, { command: "go_to", vertex: blocker.vertex });
  const why = side(page).getByRole("list", { name: "Why it waits" });
  await expect(why).toContainText("the way is held by another robot", { timeout: 60_000 });
  await expect(why).toContainText(blocker.code);
  await expect(why.getByRole("listitem").last()).toContainText("it is paused");
  await press(why, `Resume ${blocker.code}`);
  await expect(side(page)).toContainText(`vertex ${blocker.vertex}`, { timeout: 60_000 });
});

/** Of all robots the two that are nearest to each other. */
function closest(all: Bot[]): [Bot, Bot] {
  const pairs = all.flatMap((a, i) => all.slice(i + 1).map((b) => ({ a, b, far: Math.abs(a.x - b.x) + Math.abs(a.y - b.y) })));
  const { a, b } = pairs.reduce((x, y) => (y.far < x.far ? y : x));
  return [a, b];
}
