-- Has HAProxy (2.6 or newer) ask a Sallyport gate about a request:
--
--     global
--         lua-load-per-thread /etc/haproxy/sallyport.lua
--     frontend web
--         http-request lua.sallyport http://127.0.0.1:10004/
--
-- Only an answer of 200 lets a request go on, with the headers that say who calls. Any other answer is the client's, and
-- without one it gets 503. docs/doors/haproxy.md has the whole configuration.

-- The headers that say who calls, all of them the gate's.
local identity = {
    "x-auth-subject", "x-auth-issuer", "x-auth-roles", "x-auth-scope", "x-auth-session", "x-auth-token-id",
}

-- Not of the request that the gate is asked about, or of this connection alone.
local left_out = {
    ["host"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["expect"] = true, ["upgrade"] = true,
    ["te"] = true, ["trailer"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["http2-settings"] = true,
    ["connection"] = true,
    ["x-original-method"] = true, ["x-original-host"] = true, ["x-original-uri"] = true, ["x-forwarded-for"] = true,
}

-- What of a refusal is the client's.
local handed_on = { "content-type", "cache-control", "www-authenticate", "retry-after", "location", "x-sallyport-reason",
    "x-sallyport-decision" }

-- question returns the headers of the request to the gate: the client's, and what it is asked about.
local function question(txn)
    local headers = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not left_out[name] then
            local all = {}
            for i = 0, #values do all[#all + 1] = values[i] end
            headers[name] = all
        end
    end
    headers["x-original-method"] = { txn.f:method() }
    headers["x-original-host"] = { txn.f:req_fhdr("host") or "" }
    headers["x-original-uri"] = { txn.f:pathq() or "" }
    headers["x-forwarded-for"] = { txn.f:src() or "" }
    return headers
end

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status })
    for _, name in ipairs(handed_on) do
        local values = answer.headers[name]
        if values then
            for i = 0, #values do reply:add_header(name, values[i]) end
        end
    end
    reply:set_body(answer.body or "")
    txn:done(reply)
end

local function refuse_without(txn)
    local reply = txn:reply({ status = 503 })
    reply:add_header("content-type", "application/json")
    reply:add_header("cache-control", "no-store")
    reply:add_header("retry-after", "1")
    reply:set_body('{"error":"temporarily_unavailable","error_description":"No gate could be asked."}')
    txn:done(reply)
end

core.register_action("sallyport", { "http-req" }, function(txn, gate)
    local answer = core.httpclient():get({ url = gate, headers = question(txn), timeout = 2000 })
    if not answer or not answer.status or answer.status < 200 or (answer.status < 300 and answer.status ~= 200) then
        refuse_without(txn)
        return
    end
    if answer.status ~= 200 then
        refuse(txn, answer)
        return
    end
    for _, name in ipairs(identity) do
        txn.http:req_del_header(name)
        local values = answer.headers[name]
        if values and values[0] then txn.http:req_add_header(name, values[0]) end
    end
end, 1)
