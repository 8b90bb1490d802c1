import { syntaxError, type Token, type TokenType } from "./lexer";

/** A list of tokens, read from its start. */
export class TokenReader {
  protected position = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  protected get current(): Token {
    return this.tokens[this.position]!;
  }

  protected next(): Token {
    const token = this.current;
    if (token.type !== "eof") this.position++;
    return token;
  }

  protected is(type: TokenType, text?: string): boolean {
    return this.current.type === type && (text === undefined || this.current.text === text);
  }

  protected skipIf(type: TokenType, text?: string): boolean {
    const found = this.is(type, text);
    if (found) this.next();
    return found;
  }

  protected expect(type: TokenType, text?: string): Token {
    if (!this.is(type, text)) this.fail(`expected ${text ?? type.replace("_", " of ")}, got ${this.described()}`);
    return this.next();
  }

  protected fail(message: string, line = this.current.line): never {
    throw syntaxError(message, line);
  }

  protected described(): string {
    return this.is("eof") ? "the end of the template" : `'${this.current.text || this.current.type}'`;
  }

  protected lookAhead(): Token {
    return this.tokens[Math.min(this.position + 1, this.tokens.length - 1)]!;
  }
}
