import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where the API listens while the dashboard is developed with `npm run dev`. */
const board = "http://localhost:8000";

const api = [
  "runs",
  "experiments",
  "queue",
  "comparison",
  "figures",
  "report",
  "epochs.csv",
  "lens",
  "catalog",
  "workers",
  "session",
  "events",
  "openapi.json",
  "docs",
];

export default defineConfig({
  plugins: [react()],
  base: "./", // the board may be below a path that only a proxy knows
  server: { proxy: Object.fromEntries(api.map((path) => [`/${path}`, board])) },
  build: {
    // The first browsers that know light-dark(); older targets would have it replaced by something that needs more.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    chunkSizeWarningLimit: 1500,
  },
});
