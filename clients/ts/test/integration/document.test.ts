// The examples of docs/api.md do what it says; and what would not is found out.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { check, difference, runDocument } from "./document.js";
import { checkout, Starling } from "./server.js";

test("an answer that is not as shown is found out", () => {
  const shown = { a: "x-…", list: [{ n: 1 }], none: null };
  assert.equal(difference(shown, { a: "x-7", list: [{ n: 1, more: 2 }, 9], none: null, more: true }), "");
  for (const actual of [null, {}, { ...shown, a: "y" }, { ...shown, list: [] }, { ...shown, list: [{ n: 2 }] }, { ...shown, list: { 0: { n: 1 } } }, { ...shown, none: 0 }]) {
    assert.notEqual(difference(shown, actual), "", JSON.stringify(actual));
  }
  const text = { line: 1, language: "text", name: "", text: "one …\nthree" };
  check(text, "one 1\ntwo\nthree");
  assert.throws(() => check(text, "three\none 1"));
  assert.throws(() => check(text, "one 1\ntwo"));
});

test("the examples of docs/api.md do what it says", { timeout: 240_000 }, async (t) => {
  const server = await Starling.start();
  try {
    await server.addRobot(); // the last in the list: which the document pauses, and the demo does not let go on
    // Within the package: that is where the examples find `ws` and `starling-client`.
    const folder = fileURLToPath(new URL("../../document", import.meta.url));
    const { url, warehouse_id } = server.ready;
    const { run, compared } = await runDocument(join(checkout, "docs/api.md"), folder, { URL: url, WAREHOUSE: warehouse_id }, t.signal);
    assert.ok(run >= 15 && compared >= 10, `${run} blocks, ${compared} answers`);
  } finally {
    await server.stop();
  }
});
