"""Charts of ECharts in a page: what they hold, and where something of it is drawn."""

from playwright.sync_api import expect

# Streamlit keeps the instance in a hook of the component around the element.
_FIND = """host => {
  let fiber = host[Object.keys(host).find(key => key.startsWith('__reactFiber'))];
  for (; fiber; fiber = fiber.return) {
    for (let hook = fiber.memoizedState; hook; hook = hook.next) {
      const found = hook.memoizedState;
      if (found && typeof found.getOption === 'function') return found;
    }
  }
}"""


class Chart:
    """A chart below an element with a key."""

    def __init__(self, page, key):
        self.page = page
        self.selector = f".st-key-{key} [data-testid=stEChartsChart][aria-busy=false]"
        self.host = page.locator(self.selector)

    def ask(self, expression, argument=None):
        """The value of an expression in JavaScript about `chart` and `argument`."""
        expect(self.host).to_be_visible()
        body = f"(host, argument) => {{ const chart = ({_FIND})(host); return {expression}; }}"
        return self.host.evaluate(body, argument)

    def until(self, expression):
        """Wait until an expression about `chart` holds."""
        # Looked up at each try: a chart whose lines change is another element.
        self.page.wait_for_function(
            f"""selector => {{
              const host = document.querySelector(selector);
              const chart = host && ({_FIND})(host);
              return chart && ({expression});
            }}""",
            arg=self.selector,
        )

    def option(self, path):
        """A part of the option that is drawn."""
        return self.ask(f"chart.getOption().{path}")

    def click(self, x, y):
        """Click at a place of the chart, in pixels."""
        self.host.scroll_into_view_if_needed()
        box = self.host.bounding_box()
        self.page.mouse.click(box["x"] + x, box["y"] + y)

    def drag(self, x, start, end):
        """Drag from one height to another."""
        self.host.scroll_into_view_if_needed()
        box = self.host.bounding_box()
        self.page.mouse.move(box["x"] + x, box["y"] + start)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + x, box["y"] + end, steps=5)
        self.page.mouse.up()

    def dot(self, series, place):
        """Where a dot is."""
        found = "chart.getModel().getSeriesByIndex(chart.getOption().series.findIndex(one => one.id === argument[0]))"
        return self.ask(f"{found}.getData().getItemLayout(argument[1])", [series, place])

    def row(self, name):
        """Where the row of a name is in a chart of bars."""
        place = self.option("yAxis[0].data").index(name)
        return self.ask("chart.convertToPixel({xAxisIndex: 0, yAxisIndex: 0}, [0.3, argument])", place)

    def on_axis(self, axis, value):
        """Where a value of a parallel axis is."""
        return self.ask(
            "chart.getModel().getComponent('parallel').coordinateSystem.dataToPoint(argument[1],"
            " chart.getModel().getComponent('parallel').dimensions[argument[0]])",
            [axis, value],
        )

    def brushed(self, axis):
        """The intervals that are brushed on a parallel axis."""
        return self.ask("chart.getModel().getComponent('parallelAxis', argument).activeIntervals", axis)

    def free(self, name):
        """Where on the line of a trial no other line is near, in pixels."""
        return self.ask(
            """(() => {
              const parallel = chart.getModel().getComponent('parallel');
              const {coordinateSystem, dimensions} = parallel;
              const lines = chart.getOption().series.slice(0, 2).flatMap(one => one.data).map(row => ({
                name: row.at(-1),
                at: dimensions.map((name, d) => row[d] === null ? null : coordinateSystem.dataToPoint(row[d], name)),
              }));
              const own = lines.find(one => one.name.startsWith(argument + ' '));
              let best = [0];
              for (let axis = 0; axis + 1 < dimensions.length; axis++) {
                for (let part = 0.1; part < 0.95; part += 0.05) {
                  const at = line => line.at[axis] && line.at[axis + 1]
                    ? [0, 1].map(d => line.at[axis][d] * (1 - part) + line.at[axis + 1][d] * part) : [-1e3, -1e3];
                  const [x, y] = at(own);
                  const near = Math.min(...lines.filter(one => one !== own).map(one => Math.abs(at(one)[1] - y)));
                  if (near > best[0]) best = [near, x, y];
                }
              }
              return best.slice(1);
            })()""",
            name,
        )
