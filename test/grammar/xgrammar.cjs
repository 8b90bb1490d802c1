// Asks web-xgrammar, in a process of its own: reads jobs [{ schema | grammar, texts }] as JSON from the standard input and
// prints, for each, whether it takes the texts. Its package calls itself a module and holds none, and loads its program by
// a dynamic import, which Jest's modules do not have.
const { readFileSync } = require("node:fs");
const Module = require("node:module");

const path = require.resolve("@mlc-ai/web-xgrammar");
const loaded = new Module(path, module);
loaded.paths = module.paths;
loaded._compile(readFileSync(path, "utf8"), path);
const { TokenizerInfo, GrammarCompiler, GrammarMatcher } = loaded.exports;

/** Printable ASCII, a new line and the end. */
const vocabulary = [...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)), "\n", "</s>"];

async function main(jobs) {
  const info = await TokenizerInfo.createTokenizerInfo(vocabulary, "raw", false, undefined, [vocabulary.length - 1]);
  const compiler = await GrammarCompiler.createGrammarCompiler(info);
  const answers = [];
  for (const { schema, grammar, texts } of jobs) {
    const compiled =
      grammar === undefined
        ? await compiler.compileJSONSchema(JSON.stringify(schema), true)
        : await compiler.compileGrammar(grammar);
    const accepted = [];
    for (const text of texts) {
      const matcher = await GrammarMatcher.createGrammarMatcher(compiled, undefined, true);
      accepted.push(matcher._acceptString(text) && matcher.isTerminated());
      matcher.dispose();
    }
    answers.push(accepted);
  }
  process.stdout.write(JSON.stringify(answers));
}

main(JSON.parse(readFileSync(0, "utf8")));
