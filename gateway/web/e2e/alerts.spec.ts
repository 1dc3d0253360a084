// What is wrong, looked after without a mouse. The alert is a real one: a robot that reports a fault.
import { expect, rows, sure, test } from "./rig.js";
import { expectAccessible, picture } from "./shot.js";

test("a fault becomes an alert that is acknowledged, commented, resolved and rolled back by keyboard", async ({ page, server, visit }) => {
  const { api, ready } = server;
  const robot = await api.create("/api/v1/robots", { body: { robot_code: "FAULTY-1", protocol: "rest", warehouse_id: ready.warehouse_id } });
  const floor = await api.get("/api/v1/maps/{map_id}/versions/{n}", { path: { map_id: ready.map_id, n: 1 }, query: { limit: 1 } });
  const { x, y } = floor.vertices[0]!;
  await api.post("/api/v1/robots/{robot_id}/status", {
    path: { robot_id: robot.robot_id },
    body: { seq: 1, ts: new Date().toISOString(), pose: { x, y, theta: 0, map_id: ready.map_id }, velocity_mps: 0, battery_soc: 0.8, state: "ERROR", errors: [{ code: "E42", level: "FATAL", message: "a wheel is stuck" }] },
  });
  await visit({ query: "tab=alerts" });
  const ours = rows(page, "Alerts").filter({ hasText: "FAULTY-1" }).filter({ hasText: "Robot fault" });
  await expect(ours).toHaveCount(1, { timeout: 60_000 }); // it must have been there for ten seconds
  await expect(ours).toContainText(/L2.*E42: a wheel is stuck.*open/);
  await expect(page.getByRole("tab", { name: /^Alerts \d/ })).toBeVisible();
  await ours.click();
  const card = page.getByRole("region", { name: "Alert", exact: true });
  await expect(card.getByRole("list", { name: "Handling" })).toContainText("opened");
  await expectAccessible(page, "alerts");
  await picture(page, "alerts");

  await page.keyboard.press("a");
  await expect(ours).toContainText("acknowledged");
  await page.keyboard.press("m");
  await expect(card).toContainText("assigned to");
  await page.keyboard.press("c");
  await page.keyboard.type("a fitter is on the way, r");
  await page.keyboard.press("Enter");
  await expect(card).toContainText("“a fitter is on the way, r”");
  await ours.focus();
  await page.keyboard.press("s");
  await expect(ours).toContainText("silenced");
  await page.keyboard.press("z");
  await sure(card.getByRole("button", { name: /Roll back|Sure/ }));
  await expect(ours).toContainText("open");
  await expect(card).toContainText(/rolled back.*acknowledgement/);
  await ours.focus();
  await page.keyboard.press("r");
  await expect(ours).toHaveCount(0);
  await expect.poll(() => page.evaluate(() => document.activeElement?.closest(".alert-triage") !== null)).toBe(true); // the next letter is for the next alert
  await page.getByRole("checkbox", { name: "resolved too" }).check();
  await expect(ours).toContainText("resolved");

  // What the page says is what the server has.
  const { items } = await api.get("/api/v1/alerts", { query: { subject_id: robot.robot_id, cause: "robot_fault" } });
  expect(items).toHaveLength(1);
  const { handling } = await api.get("/api/v1/alerts/{alert_id}", { path: { alert_id: items[0]!.alert_id } });
  expect(handling.map((h) => h.action)).toEqual(["open", "acknowledge", "assign", "comment", "snooze", "rollback", "resolve"]);
  await api.delete("/api/v1/robots/{robot_id}", { path: { robot_id: robot.robot_id } });
});
