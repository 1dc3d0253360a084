import { Cells, idle } from "./floor.js";
import { answered, expect, press, side, test } from "./rig.js";
import { expectAccessible, picture } from "./shot.js";

test("why this robot: the cost by parts, and who was not chosen", async ({ page, server, visit }) => {
  const robot = (await idle(server))[30]!;
  const [from, to] = (await Cells.of(server)).near(robot, 8);
  const { task_id } = await server.api.create("/api/v1/tasks", { body: { task_type: "transport", warehouse_id: server.ready.warehouse_id, payload: { pickup: from!.vertex, dropoff: to!.vertex } } });
  const read = async () => (await server.api.get("/api/v1/scheduler/decisions", { query: { task_id, limit: 1 } })).items[0];
  await expect.poll(async () => (await read())?.robot_id ?? null, { timeout: 30_000 }).not.toBeNull();
  await visit({ query: `tab=none&task=${task_id}` });
  const panel = side(page).getByTestId("decision");
  const d = (await read())!;
  const name = async (id: string): Promise<string> => (await server.api.get("/api/v1/robots/{robot_id}", { path: { robot_id: id } })).robot_code;
  await expect(panel).toContainText("Why this robot");
  await expect(panel).toContainText(d.reason);
  await expect(panel.getByRole("button", { name: await name(d.robot_id!) })).toBeVisible();
  const costs = panel.getByRole("table", { name: "Cost" });
  await expect(costs.getByRole("row").filter({ hasText: "the way to it" })).toContainText(`${d.cost.travel.toFixed(1)} s`);
  await expect(costs.getByRole("row").last()).toContainText(`${Math.abs(d.cost.total).toFixed(1)} s`);
  expect(d.alternatives.length, "there were other robots").toBeGreaterThan(0);
  const others = panel.getByRole("list", { name: "Not chosen" });
  await expect(others).toContainText(await name(d.alternatives[0]!.robot_id));
  await expectAccessible(page, "a decision");
  await picture(page, "decision");

  // The robot tells the same of its side.
  await panel.getByRole("button", { name: await name(d.robot_id!) }).first().click();
  await side(page).getByText("Its last assignment").click();
  await expect(side(page).getByTestId("decision")).toContainText(`for task ${task_id.slice(0, 8)}`);
  await expect.poll(async () => (await server.api.get("/api/v1/tasks/{task_id}", { path: { task_id } })).status, { timeout: 60_000 }).toBe("SUCCEEDED");
});

test("a remedy says what it sends, does it, and shows where it is refused", async ({ page, server, visit, calm }) => {
  calm.expect(answered(422));
  const robot = (await idle(server))[31]!;
  await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: robot.id }, body: { command: "pause" } });
  await visit({ query: `tab=none&robot=${robot.id}` });
  const why = side(page).getByRole("list", { name: "Why it waits" });
  const label = `Resume ${robot.code}`;
  await why.getByRole("button", { name: label }).click();
  const asking = why.getByRole("group", { name: `${label}?` });
  await expect(asking).toContainText(`POST /api/v1/robots/${robot.id}/commands {"command":"resume"}`);
  await expect(asking.getByRole("button", { name: "Do it" })).toBeFocused();
  await expectAccessible(page, "a remedy that asks");
  await page.keyboard.press("Escape");
  await expect(asking).toHaveCount(0);
  await expect(side(page)).toBeVisible();
  const state = async () => (await server.api.get("/api/v1/robots/{robot_id}", { path: { robot_id: robot.id } })).state;
  expect(await state(), "nothing was sent").toBe("PAUSED");

  // The server does not know what it is told: it says so, and so does the page.
  await page.route("**/commands", (r) => r.continue({ postData: JSON.stringify({ command: "fly" }) }), { times: 1 });
  await press(why, label);
  await expect(why.getByRole("alert")).toContainText(/^Refused: \S/);
  expect(await state()).toBe("PAUSED");

  await press(why, label);
  await expect(side(page).getByTestId("why")).toContainText("waits for nothing", { timeout: 30_000 });
  expect(await state()).not.toBe("PAUSED");
});

test("who may not press a remedy is told who may", async ({ page, server, visit }) => {
  const robot = (await idle(server))[32]!;
  const command = (name: "pause" | "resume") => server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: robot.id }, body: { command: name } });
  await command("pause");
  await visit({ query: `tab=none&robot=${robot.id}`, token: await server.token("viewer") });
  await expect(side(page).getByTestId("why")).toContainText(new RegExp(`Resume ${robot.code} \\(needs the role .*operator`));
  await expect(side(page).getByTestId("why").getByRole("button", { name: /^Resume/ })).toHaveCount(0);
  await command("resume");
});
