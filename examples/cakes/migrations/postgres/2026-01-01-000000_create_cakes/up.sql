CREATE TABLE cakes (
    id          bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name        text   NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    price_cents bigint NOT NULL CHECK (price_cents BETWEEN 0 AND 1000000)
);
