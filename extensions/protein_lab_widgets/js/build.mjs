// Bundles the view and 3Dmol.js into one file without imports, for the widget and for reports.
// `node build.mjs` writes it; `node build.mjs --check` says whether the committed file is current.
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const TARGET = new URL("../../../protein_lab/assets/viewer/protein_view.js", import.meta.url);
const LIMIT = 600_000;

const result = await build({
  entryPoints: [new URL("src/protein_view.ts", import.meta.url).pathname],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "inline",
  banner: {
    js: "/*! protein_lab view (MIT), with 3Dmol.js 2.5.5 (BSD-3-Clause): see LICENSE.txt */",
  },
  write: false,
});
// The bundle is put inside a <script> element, which the first "</script" would end.
const text = result.outputFiles[0].text.replaceAll("</script", "<\\/script");
if (text.length > LIMIT) {
  throw new Error(`The bundle has ${text.length} bytes; at most ${LIMIT} were expected.`);
}
if (process.argv.includes("--check")) {
  const committed = await readFile(TARGET, "utf8");
  if (committed !== text) {
    console.error("The committed bundle differs from its source: run `npm run build`.");
    process.exitCode = 1;
  }
} else {
  await writeFile(TARGET, text);
  console.log(`${TARGET.pathname}: ${text.length} bytes`);
}
