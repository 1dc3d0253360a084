import { defineConfig } from "@playwright/test";

const browser = {
  viewport: { width: 1440, height: 900 },
  actionTimeout: 15_000,
  screenshot: "only-on-failure" as const,
  trace: "off" as const,
  launchOptions: {
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
  },
};

// `unit` needs nothing but Node; `e2e` and `bench` a real Chromium and the built program (see e2e/server.ts).
export default defineConfig({
  fullyParallel: false,
  workers: 1,
  forbidOnly: true,
  retries: 0,
  reporter: [["list"]],
  outputDir: "test-results",
  projects: [
    { name: "unit", testDir: "test", testMatch: /\.test\.ts$/ },
    { name: "e2e", testDir: "e2e", testMatch: /\.spec\.ts$/, timeout: 90_000, expect: { timeout: 15_000 }, use: browser },
    { name: "bench", testDir: "bench", testMatch: /\.bench\.ts$/, timeout: 60 * 60_000, use: browser },
  ],
});
