import { expect, rows, sure, test } from "./rig.js";
import { expectAccessible } from "./shot.js";

const letter = {
  event_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7", topic: "task.events", key: "k", aggregate_type: "task", aggregate_id: "7c9e6679-7425-40de-944b-e07fc1f90ae8",
  type: "task.created", cause: "record refused: MESSAGE_TOO_LARGE", attempts: 8, deaths: 1, created_at: "2026-03-01T12:00:00.000Z", dead_at: "2026-03-01T12:01:00.000Z",
  state: "open", handled_at: null, handled_by: null, waiting: 3, event: {},
};

// The server of the demo sends everything: what it answers about dead letters is put in its mouth.
test("an administrator sends again what could not be sent, or leaves it out", async ({ page, visit }) => {
  let letters = [letter, { ...letter, event_id: "7c9e6679-7425-40de-944b-e07fc1f90ae9", topic: "robot.events", type: "", waiting: 0 }];
  const asked: string[] = [];
  await page.route(/\/api\/v1\/dead-letters/, async (route) => {
    const [, id, verb] = /dead-letters\/([^/]+)\/(\w+)$/.exec(route.request().url()) ?? [];
    if (id === undefined || verb === undefined) return route.fulfill({ json: { items: letters, next_cursor: null } });
    asked.push(verb);
    letters = letters.filter((l) => l.event_id !== id);
    return route.fulfill({ status: 202, json: { ...letter, event_id: id, state: verb === "retry" ? "retrying" : "discarding" } });
  });
  await visit();
  await page.getByRole("tab", { name: "Unsent" }).click();
  const all = rows(page, "Dead letters");
  await expect(all).toHaveCount(2);
  await expect(all.first()).toContainText("MESSAGE_TOO_LARGE");
  await expect(page.getByRole("button", { name: "Send again" })).toHaveCount(0); // nothing is chosen
  await expectAccessible(page, "dead letters");
  await all.first().click();
  await page.getByRole("button", { name: "Send again" }).click();
  await expect(all).toHaveCount(1);
  await expect(all.first()).toContainText("unreadable");
  await all.first().click();
  await sure(page.getByRole("button", { name: "Leave out" }));
  await expect(page.getByText("Everything has been sent.")).toBeVisible();
  expect(asked).toEqual(["retry", "discard"]);
});
