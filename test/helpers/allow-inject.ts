/**
 * Import before using `app.inject`: it loads "cookie", an ES module, which Jest cannot require before Node 24.9. Our requests
 * have no cookies, so an empty module will do.
 */
jest.doMock("cookie", () => ({}));
