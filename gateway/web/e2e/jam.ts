// What the server says of zones, with what a jam would add to it: traffic that no test can wait for.
import type { Page } from "@playwright/test";
import type { ZoneStatus } from "starling-client";

interface Message {
  op: string;
  items?: object[];
  events?: { type: string; data: object }[];
}

/** Changes what the page hears of zones; `told` is what the server said. */
export async function changeZones(page: Page, change: (z: ZoneStatus) => ZoneStatus): Promise<{ told: ZoneStatus[] }> {
  const told: ZoneStatus[] = [];
  const changed = (z: ZoneStatus): ZoneStatus => {
    told.push(structuredClone(z));
    return change(z);
  };
  await page.routeWebSocket(/\/api\/v1\/ws/, (ws) => {
    const server = ws.connectToServer();
    server.onMessage((m) => {
      if (typeof m !== "string") return ws.send(m);
      const f = JSON.parse(m) as Message;
      if (f.items) f.items = f.items.map((i) => ("queue_length" in i ? changed(i as ZoneStatus) : i));
      f.events?.forEach((e) => e.type === "zone_status" && (e.data = changed(e.data as ZoneStatus)));
      ws.send(JSON.stringify(f));
    });
  });
  return { told };
}
