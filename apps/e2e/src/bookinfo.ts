import { request as httpRequest } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** One request on a connection of its own, so that nothing of one is left for the next. */
export function fetchText(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: options.method ?? 'GET', headers: options.headers ?? {}, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(options.body);
  });
}

export type Stars = 'none' | 'black' | 'red' | 'ratings error' | 'reviews error';

/** What a person sees on the product page. */
export interface Page {
  readonly status: number;
  readonly stars: Stars;
  /** `reviews-v1`, … as the page prints it; '' when reviews did not answer. */
  readonly servedBy: string;
  readonly hasDetailsError: boolean;
  readonly body: string;
}

/** Loads pages through the gateway as one visitor, logged in or not. */
export class Visitor {
  readonly #gatewayUrl: string;
  #cookie = '';

  constructor(gatewayUrl: string) {
    this.#gatewayUrl = gatewayUrl;
  }

  async login(username: string): Promise<this> {
    const answer = await fetchText(`${this.#gatewayUrl}/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: `username=${encodeURIComponent(username)}&passwd=x`,
    });
    const [cookie] = [answer.headers['set-cookie'] ?? []].flat();
    if (answer.status !== 302 || cookie === undefined) throw new Error(`login answered ${answer.status} without a session`);
    this.#cookie = cookie.slice(0, cookie.indexOf(';'));
    return this;
  }

  async page(headers: Record<string, string> = {}): Promise<Page> {
    const answer = await fetchText(`${this.#gatewayUrl}/productpage`, {
      headers: { ...headers, ...(this.#cookie === '' ? {} : { cookie: this.#cookie }) },
    });
    return readPage(answer);
  }

  async pages(count: number): Promise<readonly Page[]> {
    const pages: Page[] = [];
    for (let index = 0; index < count; index++) pages.push(await this.page());
    return pages;
  }
}

function readPage({ status, body }: Answer): Page {
  return {
    status,
    stars: readStars(body),
    servedBy: /Reviews served by:[\s\S]*?([a-z]+-v[\w-]+)/i.exec(body)?.[1] ?? '',
    hasDetailsError: body.includes('Error fetching product details'),
    body,
  };
}

function readStars(body: string): Stars {
  if (body.includes('Error fetching product reviews')) return 'reviews error';
  if (body.includes('Ratings service is currently unavailable')) return 'ratings error';
  if (body.includes('text-red-500')) return 'red';
  return body.includes('text-black-500') ? 'black' : 'none';
}
