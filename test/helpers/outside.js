// A transform for packages that take long to load: a worker loads them once, outside of the realms of its test files.
module.exports = {
  process: (_source, path) => ({ code: `module.exports = requireOutside(${JSON.stringify(path)});` }),
};
