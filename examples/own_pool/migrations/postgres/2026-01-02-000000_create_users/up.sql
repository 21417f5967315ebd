CREATE TABLE users (
    id    bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    email text   NOT NULL UNIQUE CHECK (char_length(email) BETWEEN 3 AND 254)
);
