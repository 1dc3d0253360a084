import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// The page is served by the program from dist/ (web.go embeds it); nothing is loaded from elsewhere.
export default defineConfig({
  resolve: { alias: { "starling-client": fileURLToPath(new URL("../../clients/ts/src/index.ts", import.meta.url)) } },
  build: { target: "es2022", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  // `npm run dev` beside a running program: the page comes from here, everything else from there.
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(["/api", "/dev/token", "/.well-known"].map((p) => [p, { target: process.env["STARLING_URL"] ?? "http://127.0.0.1:8080", ws: true }])),
  },
});
