import { Cells, idle } from "./floor.js";
import { answered, attention, away, expect, live, rows, side, sure, test } from "./rig.js";

test("a server that dies leaves the page standing, and one that comes back is followed without a reload", async ({ page, server, visit, calm }) => {
  test.setTimeout(180_000);
  calm.expect(...away, answered(401));
  const robot = (await idle(server))[11]!;
  const far = (await Cells.of(server)).near(robot, 15);
  const { task_id } = await server.api.create("/api/v1/tasks", {
    body: { task_type: "go_to", warehouse_id: server.ready.warehouse_id, payload: { dropoff: far[0]!.vertex }, earliest_start: new Date(Date.now() + 3600_000).toISOString() },
  });
  await visit({ query: `diagnostics&robot=${robot.id}` });
  const row = rows(page, "Tasks").filter({ hasText: task_id.slice(0, 8) });
  await expect(row).toBeVisible();
  await expect(side(page)).toContainText(`vertex ${robot.vertex}`);
  await page.evaluate(() => ((window as unknown as { mine: string }).mine = "this very page"));

  await server.kill();
  const banner = page.getByTestId("banner");
  await expect(banner.getByRole("alert")).toHaveText(/^Connection lost: the (server cannot be reached|connection was lost)\. $/);
  await expect(banner).toContainText(/What you see is from \d\d:\d\d:\d\d, \d+(\.\d)? s ago\./);
  await expect(banner).toContainText(/Next attempt in|Trying again/);
  await expect(page.getByTestId("age")).toContainText(/\d+ s old/, { timeout: 30_000 });
  await expect(side(page)).toContainText(`vertex ${robot.vertex}`);
  await expect(row).toBeVisible();

  await expect(attention(page)).not.toContainText("✓"); // nothing is said to be well that is not known

  await server.run();
  await expect(banner).toContainText("Connected again after", { timeout: 60_000 });
  await live(page);
  await expect(row).toBeVisible();
  const diagnostics = page.getByTestId("diagnostics");
  await expect(diagnostics).toHaveAttribute("data-opened", /^[2-9]/);
  await expect(diagnostics).toHaveAttribute("data-gaps", "0");

  // The robots have come back too, and what is told to one is seen.
  await expect(side(page)).toContainText("(online)", { timeout: 60_000 });
  await side(page).getByRole("button", { name: "Go to …" }).click();
  await side(page).getByLabel("Vertex or place").fill(far[1]!.vertex);
  await side(page).getByRole("button", { name: "Go", exact: true }).click();
  await expect(side(page)).toContainText(`vertex ${far[1]!.vertex}`, { timeout: 60_000 });
  await expect(page.getByTestId("banner")).toHaveCount(0);

  await row.click();
  await sure(side(page).getByRole("button", { name: "Cancel the task" }));
  await expect(row).toContainText("Cancelled");
  expect(await page.evaluate(() => (window as unknown as { mine: string }).mine)).toBe("this very page");
});

test("a token that expires is asked for anew, and the page goes on where it was", async ({ page, server, visit, calm }) => {
  calm.expect(answered(401));
  const robot = (await idle(server))[12]!;
  await visit({ query: `tab=robots&robot=${robot.id}`, token: await server.token("operator", { expiresInS: 8 }) });
  await expect(side(page).getByRole("heading", { name: robot.code })).toBeVisible();
  await page.evaluate(() => ((window as unknown as { mine: string }).mine = "this very page"));

  const dialog = page.getByRole("dialog", { name: "Your sign-in has expired" });
  await expect(dialog).toBeVisible({ timeout: 30_000 });
  await expect(dialog).toContainText(/What you see is from \d\d:\d\d:\d\d/);
  await expect(side(page).getByText(`vertex ${robot.vertex}`)).toBeVisible(); // behind it
  await page.keyboard.press("Escape");
  await expect(dialog).toBeVisible();

  await dialog.getByLabel("Access token").fill("not.a.token");
  await dialog.getByRole("button", { name: "Go on" }).click();
  await expect(dialog.getByRole("alert")).toContainText("does not take this token");
  await dialog.getByLabel("Access token").fill(await server.token("operator"));
  await dialog.getByRole("button", { name: "Go on" }).click();
  await expect(dialog).toBeHidden();
  await live(page);
  await expect(page.getByTestId("banner").getByRole("alert")).toHaveCount(0);
  await expect(side(page).getByRole("heading", { name: robot.code })).toBeVisible();
  await expect(page.getByRole("tab", { name: /Robots/ })).toHaveAttribute("aria-selected", "true");

  // And it follows: what is told to the robot from elsewhere is seen.
  await server.api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: robot.id }, body: { command: "pause" } });
  await expect(side(page)).toContainText("Paused");
  await side(page).getByRole("group", { name: "Commands" }).getByRole("button", { name: "Resume" }).click();
  await expect(side(page)).toContainText("Idle");
  expect(await page.evaluate(() => (window as unknown as { mine: string }).mine)).toBe("this very page");
});
