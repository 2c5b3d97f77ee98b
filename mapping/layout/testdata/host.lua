-- A host for the scripts of a layout: controls whose values, when they are set,
-- call onValueChanged of their script, as TouchOSC does; what is sent is
-- collected.
sent, millis = {}, 0
local nodes = {}

function node(name, values, source, tag)
  local n = { name = name, tag = tag, children = {}, color = nil, interactive = false }
  local state = {}
  for k, v in pairs(values) do state[k] = v end
  n.values = setmetatable({}, {
    __index = state,
    __newindex = function(_, key, v)
      if state[key] == v then return end
      state[key] = v
      if n.env and n.env.onValueChanged then n.env.onValueChanged(key) end
    end,
  })
  nodes[#nodes + 1] = n
  n.source = source
  return n
end

function child(parent, n)
  parent.children[n.name] = n
  n.parent = parent
  return n
end

root = node('root', {})
function root:findAllByProperty(key, value)
  local found = {}
  for _, n in ipairs(nodes) do
    if n[key] == value then found[#found + 1] = n end
  end
  return found
end

function start(n)
  n.env = setmetatable({
    self = n, root = root,
    sendOSC = function(message, connections) sent[#sent + 1] = { message, connections } end,
    getMillis = function() return millis end,
    Color = function(r, g, b, a) return { r = r, g = g, b = b, a = a } end,
  }, { __index = _G })
  setfenv(assert(loadstring(n.source, n.name)), n.env)()
  if n.env.init then n.env.init() end
end

function receive(n, address, value, tag)
  if n.env.onReceiveOSC then return n.env.onReceiveOSC({ address, { { tag = tag or 'f', value = value } } }, {}) end
  return false
end

-- last prints what was sent since it was asked last, and what a label says.
function last(label)
  local line = {}
  for _, s in ipairs(sent) do
    line[#line + 1] = s[1][1] .. ' ' .. s[1][2][1].tag .. ' ' .. tostring(s[1][2][1].value)
  end
  sent = {}
  print(table.concat(line, '; ') .. '\t' .. (label and label.values.text or ''))
end
