// Reads Markdown from standard input and writes the HTML that KFP's UI makes of a description. `inline`: as in its tables.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const load = createRequire(`${process.cwd()}/`);  // the packages lie in the working folder, not beside this file
const { createElement } = load("react");
const { renderToStaticMarkup } = load("react-dom/server");
const loaded = load("markdown-to-jsx");
const options = { disableParsingRawHTML: true, forceInline: process.argv[2] === "inline" };
process.stdout.write(renderToStaticMarkup(createElement(loaded.default ?? loaded, { options }, readFileSync(0, "utf8"))));
