import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const api = ["runs", "experiments", "comparison", "figures", "catalog", "workers", "events", "openapi.json", "docs"];

export default defineConfig({
  plugins: [react()],
  server: { proxy: Object.fromEntries(api.map((path) => [`/${path}`, process.env["CCTBOARD_URL"] ?? "http://localhost:8000"])) },
  build: { chunkSizeWarningLimit: 1500 },
});
