/**
 * Build of the page: one HTML document with its script, style and the WebAssembly of ONNX Runtime, gzipped, to
 * `src/posecast/export/page.html.gz`, where `page.py` fills it.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const WASM = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";
const PAGE = "../src/posecast/export/page.html.gz";
const CONTENT = "<!-- content -->";

/** ONNX Runtime would look for its WebAssembly beside the script; the page hands it over instead. */
function withoutAddressOfWasm(): Plugin {
  return {
    name: "without-address-of-wasm",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("onnxruntime-web")) return null;
      return code.replaceAll(/new URL\("ort-wasm-simd-threaded\.wasm",\s*import\.meta\.url\)\.href/g, '""');
    },
  };
}

/** Put the script and the style into the document, with their hashes in its policy. */
function asOneFile(): Plugin {
  return {
    name: "as-one-file",
    enforce: "post",
    writeBundle(options, bundle) {
      const files = Object.values(bundle);
      const script = files.find((file) => file.type === "chunk" && file.isEntry);
      const style = files.find((file) => file.type === "asset" && file.fileName.endsWith(".css"));
      const page = files.find((file) => file.type === "asset" && file.fileName.endsWith(".html"));
      const others = files.filter((file) => ![script, style, page].includes(file));
      if (script?.type !== "chunk" || style?.type !== "asset" || page?.type !== "asset" || others.length) {
        throw new Error(`The build made other files than one script, style and page: ${files.map((file) => file.fileName)}`);
      }
      const code = script.code.replaceAll("</script", "<\\/script").trim();
      const rules = String(style.source).trim();
      const policy = [
        "default-src 'none'",
        `script-src '${digest(code)}' 'wasm-unsafe-eval'`,
        "worker-src blob:",
        `style-src '${digest(rules)}'`,
        "img-src data:",
        "connect-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
      ].join("; ");
      const wasm = `<script type="application/octet-stream" id="wasm">${gzipSync(readFileSync(WASM), { level: 9 }).toString("base64")}</script>`;
      const notice = `<script type="text/plain" id="licences">\n${readFileSync("NOTICE.txt", "utf8")}</script>`;
      const html = String(page.source)
        .replace(/<script type="module"[^>]*><\/script>\s*/, "")
        .replace(/<link rel="stylesheet"[^>]*>/, () => `<style>${rules}</style>`)
        .replace("POLICY", () => policy)
        .replace("</body>", () => `${CONTENT}\n${notice}\n${wasm}\n<script type="module">${code}</script>\n</body>`);
      mkdirSync("../src/posecast/export", { recursive: true });
      writeFileSync(PAGE, gzipSync(html, { level: 9 }));
      rmSync(options.dir!, { recursive: true, force: true });
    },
  };
}

function digest(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

export default defineConfig({
  base: "./",
  plugins: [withoutAddressOfWasm(), asOneFile()],
  worker: { format: "iife", plugins: () => [withoutAddressOfWasm()] },
  build: { target: "es2022", modulePreload: false, assetsInlineLimit: 0, cssCodeSplit: false, reportCompressedSize: false },
});
