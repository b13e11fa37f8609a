const PROXY_VARIABLE = /^(https?|grpc|all|no|no_grpc)_proxy$|^NODE_USE_ENV_PROXY$/i;

/** The environment of a process of the mesh itself: without the user's own HTTP proxies, which grpc-js and Node would send local calls to. */
export function meshEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !PROXY_VARIABLE.test(name)));
}

/** The variables that send a program's outgoing HTTP through its sidecar. Both spellings, since programs differ in which they read. */
export function proxyEnvironment(httpProxyPort: number): Record<string, string> {
  const proxy = `http://127.0.0.1:${httpProxyPort}`;
  const direct = 'localhost,127.0.0.1,::1';
  return {
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    HTTPS_PROXY: proxy,
    https_proxy: proxy,
    NO_PROXY: direct,
    no_proxy: direct,
    NODE_USE_ENV_PROXY: '1',
  };
}
