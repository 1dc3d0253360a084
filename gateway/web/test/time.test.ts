import { expect, test } from "@playwright/test";
import { Clock, since, span } from "../src/time.js";

const at = Date.parse("2026-03-28T23:30:05Z");

test("times are those of the warehouse", () => {
  expect(new Clock("UTC").time(at)).toBe("23:30:05");
  expect(new Clock("Asia/Tokyo").time(at)).toBe("08:30:05");
  expect(new Clock("Europe/Berlin").at(at, at + 60_000)).toBe("00:30:05");
  expect(new Clock("Europe/Berlin").at(at, at - 3_600_000)).toBe("29 Mar, 00:30");
});

test("a zone that nobody knows counts as UTC", () => {
  expect(new Clock("Mars/Olympus").zone).toBe("UTC");
});

test("a wall clock is read in the warehouse's zone, over the change of the clocks too", () => {
  const berlin = new Clock("Europe/Berlin");
  expect(new Date(berlin.read("2026-03-28T14:30")).toISOString()).toBe("2026-03-28T13:30:00.000Z");
  expect(new Date(berlin.read("2026-03-29T14:30")).toISOString()).toBe("2026-03-29T12:30:00.000Z");
  expect(new Date(berlin.read("2026-10-25T01:30")).toISOString()).toBe("2026-10-24T23:30:00.000Z");
  expect(berlin.local(Date.parse("2026-03-29T12:30:00Z"))).toBe("2026-03-29T14:30");
  expect(berlin.read("soon")).toBeNaN();
});

test("spans are said in two units at most", () => {
  expect([0, 400, 1000, 59_900, 60_000, 134_000, 3_600_000, 11_100_000, 90_000_000, -5].map(span)).toEqual([
    "0.0 s", "0.4 s", "1 s", "59 s", "1 min 0 s", "2 min 14 s", "1 h 0 min", "3 h 5 min", "1 d 1 h", "0.0 s",
  ]);
  expect(since(null, at)).toBe("");
  expect(since("2026-03-28T23:30:00Z", at)).toBe("5 s");
});
