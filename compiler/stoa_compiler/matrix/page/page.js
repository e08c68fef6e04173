"use strict";
// Text goes into the page by textContent only: nothing of the data is ever read as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const ROWS = 500, MANY = 16;
  const $ = (id) => document.getElementById(id);
  const state = { query: "", kind: data.kind, effects: "", page: 0 };
  const fits = {
    "": () => true,
    changes: (t) => t.effects === "write" || t.effects === "destructive",
    destructive: (t) => t.effects === "destructive",
    approval: (t) => t.approval,
    unapproved: (t) => !t.approval && (t.effects === "write" || t.effects === "destructive"),
  };

  function make(tag, text, name) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  const sections = data.sections.map((s) => ({
    name: s.name,
    text: s.name.toLowerCase(),
    tools: s.tools.map(([group, operation, title, effects, approval, classification, deprecated], at) => ({
      at, group: s.groups[group], operation, title, effects, approval: !!approval, classification, deprecated: !!deprecated,
      text: (s.groups[group].replace(/\*$/, "") + operation + " " + title).toLowerCase(),
    })),
    columns: Object.fromEntries(Object.entries(s.columns).map(([kind, columns]) => [kind, columns.map(([name, title, bits]) => ({
      names: [name], title, bits, text: (name + " " + title).toLowerCase(),
    }))])),
  }));

  // Where a tenant has very many people, those who may call the same share a column.
  function merged(columns) {
    if (columns.length <= MANY) return columns;
    const found = new Map();
    for (const c of columns) {
      const key = c.bits + " " + c.title.replace(/^.*, /, "");
      const first = found.get(key);
      if (first) first.names.push(...c.names);
      else found.set(key, { ...c, names: [...c.names] });
    }
    return [...found.values()];
  }

  // A query that names the tenant shows all of it; else the rows and columns that it names.
  function cut(section) {
    let tools = section.tools.filter(fits[state.effects]);
    let columns = section.columns[state.kind] || [];
    const query = state.query;
    if (query && !section.text.includes(query)) {
      const rows = tools.filter((t) => t.text.includes(query));
      const named = columns.filter((c) => c.text.includes(query));
      if (!rows.length && !named.length) return null;
      if (named.length) columns = named;
      if (rows.length) tools = rows;
    }
    return tools.length ? { section, tools, columns: merged(columns) } : null;
  }

  function pages() {
    const found = [];
    let page = [], rows = 0;
    const close = () => { if (page.length) found.push(page); page = []; rows = 0; };
    for (const whole of sections) {
      const part = cut(whole);
      if (!part) continue;
      for (let start = 0; start < part.tools.length; start += ROWS) {
        const tools = part.tools.slice(start, start + ROWS);
        if (rows && rows + tools.length > ROWS) close();
        page.push({ ...part, tools, first: start, count: part.tools.length });
        rows += tools.length;
      }
    }
    close();
    return found;
  }

  function label(names) {
    return names.length <= 3 ? names.join(", ") : `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`;
  }

  function table({ section, tools, columns, first, count }) {
    const box = make("section");
    const title = make("h2", section.name + " ");
    const span = count > tools.length ? `tools ${first + 1} to ${first + tools.length} of ${count}` : `${count} tool${count === 1 ? "" : "s"}`;
    title.append(make("small", span + (columns.length ? "" : "; nobody of this kind")));
    const scroll = make("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", section.name);
    const grid = make("table"), head = make("thead"), body = make("tbody"), top = make("tr");
    for (const text of ["Tool", "Effects", "Class"]) top.append(column(text));
    for (const c of columns) {
      const cell = column(label(c.names));
      if (c.names.length > 3) cell.title = c.names.join(", ");
      if (c.title) cell.append(make("small", c.title));
      top.append(cell);
    }
    head.append(top);
    let group = null;
    for (const tool of tools) {
      if (tool.group !== group) {
        group = tool.group;
        body.append(heading(group, tools.filter((t) => t.group === group), columns));
      }
      body.append(row(tool, columns));
    }
    grid.append(head, body);
    scroll.append(grid);
    box.append(title, scroll);
    return box;
  }

  function column(text) {
    const cell = make("th", text);
    cell.scope = "col";
    return cell;
  }

  function heading(group, tools, columns) {
    const line = make("tr", undefined, "group"), name = make("th", group);
    name.scope = "rowgroup";
    line.append(name, make("td"), make("td"));
    for (const c of columns) {
      const held = tools.filter((t) => c.bits[t.at] === "1").length;
      line.append(make("td", held === tools.length ? "all" : held ? `${held} of ${tools.length}` : ""));
    }
    return line;
  }

  function row(tool, columns) {
    const line = make("tr"), name = make("th", tool.operation), facts = make("td", undefined, "facts");
    name.scope = "row";
    name.append(make("small", tool.title + (tool.deprecated ? " (deprecated)" : "")));
    facts.append(make("span", tool.effects, tool.effects));
    if (tool.approval) facts.append(make("span", ", approval"));
    line.append(name, facts, make("td", tool.classification));
    for (const c of columns) {
      const yes = c.bits[tool.at] === "1";
      const cell = make("td", yes ? "\u25cf" : "", yes ? "cell yes" : "cell");
      if (yes) cell.setAttribute("aria-label", "may call");
      line.append(cell);
    }
    return line;
  }

  function show() {
    const all = pages();
    state.page = Math.max(0, Math.min(state.page, all.length - 1));
    const page = all[state.page] || [];
    $("sections").replaceChildren(...page.map(table));
    if (!page.length) $("sections").append(make("p", "Nothing fits."));
    $("page").textContent = all.length ? `page ${state.page + 1} of ${all.length}` : "";
    $("back").disabled = state.page === 0;
    $("on").disabled = state.page >= all.length - 1;
  }

  let waiting = 0;
  function later() {
    clearTimeout(waiting);
    waiting = setTimeout(() => { state.page = 0; show(); }, sections.length > 50 ? 150 : 0);
  }

  function turn(by) {
    state.page += by;
    show();
    window.scrollTo(0, 0);
  }

  $("counts").textContent = data.counts;
  $("remarks").textContent = data.remarks.join(". ");
  $("query").addEventListener("input", (e) => { state.query = e.target.value.trim().toLowerCase(); later(); });
  $("effects").addEventListener("change", (e) => { state.effects = e.target.value; state.page = 0; show(); });
  for (const radio of document.querySelectorAll("input[name=kind]")) {
    radio.checked = radio.value === state.kind;
    radio.addEventListener("change", () => { state.kind = radio.value; state.page = 0; show(); });
  }
  $("back").addEventListener("click", () => turn(-1));
  $("on").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && document.activeElement !== $("query")) { e.preventDefault(); $("query").focus(); }
    if (e.key === "Escape" && document.activeElement === $("query")) { $("query").value = ""; state.query = ""; later(); }
  });
  show();
})();
